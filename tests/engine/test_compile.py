# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""`cfg.compile`: the same run, with the transformer layers compiled."""

import pytest
import torch
from mmengine.hooks import Hook
from torch._dynamo.utils import counters

from vicmae.errors import ConfigError
from vicmae.registry import MODELS
from vicmae.testing import toy_runner, toy_vicmae_config


class Losses(Hook):
    """Keeps what each iteration gave."""

    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append({name: value.item() for name, value in outputs.items()})


def train(work_dir, compile_cfg, **parts):
    config = toy_vicmae_config(norm=None)
    config['backbone']['with_cp'] = parts.pop('with_cp', False)
    torch.manual_seed(0)
    model = MODELS.build({**config, **parts})
    samples = [{'inputs': list(torch.rand(2, 3, 16, 16))} for _ in range(12)]
    losses = Losses()
    hooks = [
        dict(type='StepSeedHook'),
        dict(type='LossWeightScheduleHook', end=4),
        dict(type='TargetEMAHook'),
        losses,
    ]
    runner = toy_runner(
        work_dir,
        model=model,
        hooks=hooks,
        train_dataloader=dict(
            batch_size=2,
            dataset=samples,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        max_epochs=2,
        randomness=dict(seed=0),
        cfg=dict(compile=compile_cfg),
    )
    runner.train()
    return losses.seen


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def assert_same(compiled, plain):
    assert len(compiled) == len(plain) == 12
    for with_it, without in zip(compiled, plain, strict=True):
        assert with_it == pytest.approx(without, rel=2e-5, abs=1e-7)


@pytest.mark.slow
@pytest.mark.needs('g++')
def test_compiled_run_has_the_same_losses(tmp_path, fresh_compiler):
    plain = train(tmp_path / 'plain', False)
    assert counters['stats']['unique_graphs'] == 0
    assert_same(train(tmp_path / 'compiled', True), plain)
    # Once for the encoder's layers and once for the decoder's, however many there are and whatever
    # the weight of the contrastive loss, which is another in each of these steps.
    assert counters['stats']['unique_graphs'] == 2


@pytest.mark.parametrize(
    'parts',
    [
        pytest.param(dict(target=dict(type='EMATarget')), id='teacher', marks=pytest.mark.slow),
        pytest.param(dict(with_cp=True), id='checkpointed'),
    ],
)
def test_teacher_and_checkpointing_compile_too(tmp_path, fresh_compiler, parts):
    plain = train(tmp_path / 'plain', None, **dict(parts))
    compiled = train(tmp_path / 'compiled', dict(backend='aot_eager'), **dict(parts))
    assert_same(compiled, plain)
    assert 2 <= counters['stats']['unique_graphs'] <= 4


@pytest.mark.parametrize('options', [dict(target='forward'), 'yes', 3])
def test_unknown_compile_option_is_refused(tmp_path, options):
    message = r'`compile` must be True, False or options of torch.compile \(full'
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, options)
