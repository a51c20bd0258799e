# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math

import pytest
from mmengine.model import MMDistributedDataParallel

from vicmae.engine.hooks import LossWeightScheduleHook
from vicmae.errors import ConfigError
from vicmae.testing import ToyModel, toy_runner


def train(work_dir, hook_cfg, **kwargs):
    """Trains for real; returns the weight that the model saw at each step."""
    hook = dict(type='LossWeightScheduleHook', **hook_cfg)
    runner = toy_runner(work_dir, hooks=[hook], **kwargs)
    runner.train()
    return runner.model.weights_seen


@pytest.mark.parametrize(
    ('shape', 'position', 'value'),
    [
        ('linear', 0, 0.1),
        ('linear', 2, 0.1),
        ('linear', 3, 0.25),
        ('linear', 4.5, 0.475),
        ('linear', 6, 0.7),
        ('linear', 100, 0.7),
        ('cosine', 2, 0.1),
        ('cosine', 3, 0.1 + 0.6 * (1 - math.cos(math.pi / 4)) / 2),
        ('cosine', 4, 0.4),
        ('cosine', 6, 0.7),
        ('cosine', 9, 0.7),
    ],
)
def test_value_follows_the_ramps_formula(shape, position, value):
    hook = LossWeightScheduleHook(begin=2, end=6, start_value=0.1, end_value=0.7, shape=shape)
    assert hook.value_at(position) == pytest.approx(value)


def test_ramp_may_go_down():
    hook = LossWeightScheduleHook(end=4, start_value=1.0, end_value=0.0)
    assert [hook.value_at(i) for i in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_weight_rises_each_iteration_to_the_configured_value(tmp_path):
    seen = train(tmp_path, dict(end=2), max_epochs=3)
    # 3 batches an epoch: the ramp of two epochs has six steps, then the model's own 0.5.
    assert seen == pytest.approx([0, 0.5 / 6, 1 / 6, 0.25, 2 / 6, 2.5 / 6, 0.5, 0.5, 0.5])


def test_run_can_count_in_iterations(tmp_path):
    seen = train(tmp_path, dict(begin=1, end=3, end_value=0.8, unit='iter'))
    assert seen == pytest.approx([0, 0, 0.4, 0.8, 0.8, 0.8])


def test_ramp_in_shares_follows_the_length_of_the_run(tmp_path):
    seen = train(tmp_path, dict(end=0.5, end_value=0.6, unit='run'), max_epochs=4)
    assert seen == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, *[0.6] * 6])


@pytest.mark.parametrize('unit', ['epoch', 'iter'])
def test_weight_is_right_from_the_first_step_after_a_resume(tmp_path, unit):
    ramp = dict(end=3 if unit == 'epoch' else 9, unit=unit, shape='cosine')
    uninterrupted = train(tmp_path / 'whole', ramp, max_epochs=4)
    train(tmp_path / 'parts', ramp, max_epochs=1, checkpoints=True)
    resumed = train(tmp_path / 'parts', ramp, max_epochs=4, resume=True)
    assert resumed == uninterrupted[3:]
    assert resumed[0] > 0


def train_wrapped(work_dir):
    runner = toy_runner(work_dir, hooks=[dict(type='LossWeightScheduleHook', end=2)])
    runner.model = MMDistributedDataParallel(runner.model)
    runner.train()
    return runner.model.module.weights_seen


def test_weight_of_a_model_wrapped_for_several_processes_is_found(tmp_path, gloo_pool):
    (seen,) = gloo_pool.run(train_wrapped, 1, tmp_path)
    assert seen[:3] == pytest.approx([0, 0.5 / 6, 1 / 6])


@pytest.mark.parametrize(
    'weight', ['head.contrastiv_weight', 'tail.weight', 'temperature', 'linear.weight']
)
def test_missing_weight_stops_the_run_before_the_first_step(tmp_path, weight):
    message = rf'moves `model\.{weight}`, and a ToyModel has no such number. Remove the hook from'
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, dict(end=2, weight=weight))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (
            dict(begin=3, end=3),
            '0 <= `begin` < `end`, got begin 3 and end 3. Raise `end`, or leave the hook',
        ),
        (dict(begin=-1, end=3), 'got begin -1 and end 3'),
        (dict(end=3, shape='exp'), '`shape` must be one of linear, cosine, got .exp.'),
        (dict(end=3, unit='step'), '`unit` must be one of epoch, iter, run, got .step.'),
        (dict(end=40, unit='run'), '`end` is a share of the run, at most 1, got 40'),
        (dict(end=3, start_value=-1.0), '`start_value` is a loss weight .* got -1.0'),
        (dict(end=3, end_value=-2.0), '`end_value` is a loss weight .* got -2.0'),
    ],
)
def test_impossible_ramps_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        LossWeightScheduleHook(**kwargs)


def log_of(work_dir):
    (log,) = work_dir.glob('*/*.log')
    return log.read_text()


def test_ramp_that_starts_after_the_run_is_reported(tmp_path):
    assert train(tmp_path, dict(begin=5, end=9), max_epochs=1) == [0, 0, 0]
    assert 'begins at epoch 5, after the run ends at 1: the weight stays at 0' in log_of(tmp_path)


def test_weight_of_a_disabled_loss_is_reported(tmp_path):
    model = ToyModel()
    model.head.contrastive = None
    train(tmp_path, dict(end=2), model=model)
    assert "moves 'contrastive_weight', but that loss is switched off" in log_of(tmp_path)
