# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Real runs of the toy ViC-MAE with a teacher."""

import json
import math
from itertools import pairwise

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel

from vicmae.engine.hooks import TargetEMAHook
from vicmae.errors import ConfigError
from vicmae.registry import MODELS, OPTIM_WRAPPERS
from vicmae.testing import toy_runner, toy_vicmae_config

WATCHED = 'layers.0.ffn.layers.1.weight'
ADAMW = dict(type='AdamW', lr=0.01, weight_decay=0.5)
BATCHES = 4


class Watch(Hook):
    """Keeps a weight of the student and of the teacher before the first iteration and after each."""

    priority = 'LOWEST'

    def __init__(self):
        self.students, self.teachers = [], []

    def before_train(self, runner):
        model = getattr(runner.model, 'module', runner.model)
        self.students.append(model.backbone.get_parameter(WATCHED).detach().clone())
        self.teachers.append(model.target.backbone.get_parameter(WATCHED).clone())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.before_train(runner)


def build(work_dir, *hooks, target='EMATarget', latent=None, wrapper=None, **kwargs):
    config = {**toy_vicmae_config(norm=None), 'target': dict(type=target)}
    if target == 'EMATarget':
        config['target']['momentum'] = 0.5
    if latent is not None:
        config['head']['reconstruction'] = dict(type='LatentPredictionLoss', momentum=latent)
    torch.manual_seed(0)
    samples = [{'inputs': list(torch.rand(2, 3, 16, 16))} for _ in range(4 * BATCHES)]
    loader = dict(
        batch_size=4,
        dataset=samples,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    return toy_runner(
        work_dir,
        model=MODELS.build(config),
        hooks=hooks,
        train_dataloader=loader,
        optim_wrapper=wrapper or dict(optimizer=ADAMW),
        randomness=dict(seed=0),
        **{'max_epochs': 1, **kwargs},
    )


def train(work_dir, *, ema=None, data_parallel=False, **kwargs):
    """Trains; returns what `Watch` saw, and the runner."""
    watch = Watch()
    ema_hook, seeds = dict(type='TargetEMAHook', **(ema or {})), dict(type='StepSeedHook')
    runner = build(work_dir, ema_hook, seeds, watch, **kwargs)
    if data_parallel:
        runner.model = MMDistributedDataParallel(runner.model)
    runner.train()
    return watch.students, watch.teachers, runner


def momentum_at(step, steps, begin=0.5):
    return 1 - (1 - begin) * (1 + math.cos(math.pi * step / steps)) / 2


def changes(weights):
    return [not torch.equal(a, b) for a, b in pairwise(weights)]


def test_momentum_follows_a_cosine():
    hook = TargetEMAHook(begin_momentum=0.996)
    assert [hook.momentum_at(p) for p in (0, 0.5, 1)] == pytest.approx([0.996, 0.998, 1])
    constant = TargetEMAHook(begin_momentum=0.99, end_momentum=0.99)
    assert [constant.momentum_at(p) for p in (0, 0.3, 1)] == pytest.approx([0.99] * 3)


def test_teacher_is_updated_each_step_without_weight_decay(tmp_path):
    students, teachers, _ = train(tmp_path)
    assert torch.equal(students[0], teachers[0])
    for step in range(BATCHES):
        m = momentum_at(step, BATCHES)
        expected = m * teachers[step] + (1 - m) * students[step + 1]
        torch.testing.assert_close(teachers[step + 1], expected)
    assert all(changes(teachers))


def test_each_teacher_is_updated_with_its_own_momentum(tmp_path):
    students, teachers, runner = train(tmp_path, latent=0.9)
    expected = [students[0], students[0]]
    for step, student in enumerate(students[1:]):
        for i, begin in enumerate([0.5, 0.9]):
            m = momentum_at(step, BATCHES, begin)
            expected[i] = m * expected[i] + (1 - m) * student
    torch.testing.assert_close(teachers[-1], expected[0])
    other = runner.model.head.reconstruction.backbone.get_parameter(WATCHED)
    torch.testing.assert_close(other, expected[1])


def test_momentum_of_the_hook_overrides_that_of_the_target(tmp_path):
    students, teachers, _ = train(tmp_path, ema=dict(begin_momentum=0.0, end_momentum=0.0))
    assert all(torch.equal(s, t) for s, t in zip(students, teachers, strict=True))


def test_teacher_is_updated_only_when_the_optimiser_steps(tmp_path):
    wrapper = dict(optimizer=ADAMW, accumulative_counts=2)
    students, teachers, _ = train(tmp_path, wrapper=wrapper)
    assert changes(students) == changes(teachers) == [False, True, False, True]


@OPTIM_WRAPPERS.register_module()
class SkipSecondStep(OPTIM_WRAPPERS.get('OptimWrapper')):
    """Leaves a step out as a gradient scaler does that meets infinite gradients."""

    steps = 0

    def step(self, **kwargs):
        self.steps += 1
        if self.steps != 2:
            super().step(**kwargs)


def test_skipped_step_does_not_update_the_teacher(tmp_path):
    wrapper = dict(type='SkipSecondStep', optimizer=ADAMW)
    students, teachers, _ = train(tmp_path, wrapper=wrapper)
    assert changes(students) == changes(teachers) == [True, False, True, True]


@pytest.mark.parametrize('constructor', ['DefaultOptimWrapperConstructor', None])
def test_teacher_does_not_depend_on_the_optimiser_constructor(tmp_path, constructor):
    wrapper = dict(optimizer=ADAMW)
    if constructor:
        wrapper |= dict(constructor=constructor, paramwise_cfg=dict(bias_decay_mult=0.0))
    students, teachers, _ = train(tmp_path, wrapper=wrapper)
    m = momentum_at(0, BATCHES)
    torch.testing.assert_close(teachers[1], m * teachers[0] + (1 - m) * students[1])


def test_momentum_is_in_the_log(tmp_path):
    _, _, runner = train(tmp_path)
    rows = (tmp_path / runner.timestamp / 'vis_data/scalars.json').read_text().splitlines()
    logged = [json.loads(row)['target_momentum'] for row in rows]
    assert logged == pytest.approx([momentum_at(s, BATCHES) for s in range(BATCHES)])


def test_resumed_run_has_the_teacher_and_momentum_of_an_uninterrupted_one(tmp_path):
    students, teachers, _ = train(tmp_path / 'whole', max_epochs=2)
    settings = dict(checkpoints=True, max_epochs=2)
    stopped = build(
        tmp_path / 'parts',
        dict(type='TargetEMAHook'),
        dict(type='StepSeedHook'),
        StopAfterOneEpoch(),
        **settings,
    )
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    resumed = train(tmp_path / 'parts', resume=True, **settings)
    assert len(resumed[0]) == BATCHES + 1
    assert all(map(torch.equal, resumed[0], students[BATCHES:]))
    assert all(map(torch.equal, resumed[1], teachers[BATCHES:]))


class StopAfterOneEpoch(Hook):
    priority = 'LOWEST'

    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            raise KeyboardInterrupt


def train_on_rank(work_dir):
    students, teachers, _ = train(work_dir, data_parallel=True)
    return students, teachers


def test_teachers_of_all_processes_are_equal(tmp_path, gloo_pool):
    results = gloo_pool.run(train_on_rank, 2, tmp_path)
    for (students, teachers), (others, other_teachers) in [results]:
        assert all(map(torch.equal, students, others))
        assert all(map(torch.equal, teachers, other_teachers))
    m = momentum_at(0, BATCHES // 2)
    torch.testing.assert_close(teachers[1], m * teachers[0] + (1 - m) * students[1])
    assert all(changes(teachers))


def test_optimiser_is_released_when_the_run_ends(tmp_path):
    _, teachers, runner = train(tmp_path)
    runner.optim_wrapper.optimizer.step()
    assert torch.equal(runner.model.target.backbone.get_parameter(WATCHED), teachers[-1])


class OwnEMAHook(TargetEMAHook):
    """A user's variation."""


def test_subclass_of_the_hook_is_accepted(tmp_path):
    assert build(tmp_path, OwnEMAHook()).iter == 0


def test_hook_does_nothing_without_a_teacher(tmp_path):
    runner = build(tmp_path, dict(type='TargetEMAHook'), target='SharedTarget')
    runner.train()
    assert runner.iter == BATCHES


def test_teacher_without_its_hook_is_refused_before_the_run(tmp_path):
    message = r'`target` is EMATarget, which does nothing without the hook TargetEMAHook: add .dict'
    with pytest.raises(ConfigError, match=message):
        build(tmp_path)
    with pytest.raises(ConfigError, match='`head.reconstruction` is LatentPredictionLoss, which'):
        build(tmp_path, target='SharedTarget', latent=0.9)


@pytest.mark.parametrize('name', ['begin_momentum', 'end_momentum'])
def test_momentum_outside_zero_to_one_is_refused(name):
    with pytest.raises(ValueError, match=rf'`{name}` is the share .* in \[0, 1\], got 1.5'):
        TargetEMAHook(**{name: 1.5})
