# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checkpoints of sharded models: those of a whole one, from any number of ranks and to any."""

import os

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample

from vicmae.checkpoints.fit import load_weights
from vicmae.checkpoints.state import collect_state, shard_moments_on_loading
from vicmae.engine.sharding import FullyShard
from vicmae.registry import MODELS
from vicmae.structures import Clips
from vicmae.testing import randomize, toy_runner, toy_vicmae_config
from vicmae.utils.distributed import rank_and_world_size, unwrapped


def config_of(**parts):
    head = dict(
        type='MLPHead', hidden_dim=13, out_dim=7, norm='SyncBN'
    )  # rows that no two ranks share evenly
    return {
        **toy_vicmae_config(norm='SyncBN'),
        'aggregator': dict(type='GeMPooling'),
        'predictor': head,
        'projector': head,
        'target': dict(type='EMATarget'),
        **parts,
    }


def build(sharded=True, seed=0):
    """A model and its optimiser, other ones on each rank and for each seed."""
    torch.manual_seed(10 * seed + rank_and_world_size()[0])
    model = MODELS.build(config_of())
    model = FullyShard(model) if sharded else model
    groups = [dict(params=[p]) for p in model.parameters() if p.requires_grad]
    return model, OptimWrapper(torch.optim.AdamW(groups, lr=1e-2))


@pytest.fixture(scope='module')
def whole():
    """The state of a model after two steps in one process."""
    model, optim = build(sharded=False)
    randomize(model)
    for _ in range(2):
        model.train_step(dict(inputs=list(255 * torch.rand(2, 4, 3, 16, 16))), optim)
    model.update_target(0.5)
    return {'state_dict': model.state_dict(), 'optimizer': optim.state_dict()}


def assert_identical(one, other, where=''):
    """In every bit, the order of keys, and the versions of modules."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert list(one) == list(other), where
        assert getattr(one, '_metadata', None) == getattr(other, '_metadata', None), where
        for key in one:
            assert_identical(one[key], other[key], f'{where}.{key}')
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for i, pair in enumerate(zip(one, other, strict=True)):
            assert_identical(*pair, f'{where}.{i}')
    elif isinstance(one, HistoryBuffer):
        assert_identical(list(one.data), list(other.data), where)
        assert one.max_length == other.max_length
    elif isinstance(one, (torch.Tensor, np.ndarray)):
        assert one.dtype == other.dtype, where
        assert one.shape == other.shape, where
        assert (one == other).all(), where
    else:
        assert one == other, where


def load(state, model, optim):
    load_weights(model, state['state_dict'], source='a.pth')
    shard_moments_on_loading(optim.optimizer)
    optim.load_state_dict(dict(state['optimizer']))  # it takes a key out


def there_and_back(state):
    model, optim = build(seed=1)
    load(state, model, optim)
    local = unwrapped(model).state_dict()['backbone.cls_token']
    return collect_state(model, optim), collect_state(model), type(local).__name__


@pytest.mark.parametrize(
    'world_size', [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3))]
)
def test_state_is_restored_on_any_number_of_ranks(gloo_pool, world_size, whole):
    results = gloo_pool.run(there_and_back, world_size, whole)
    for rank, (collected, alone, local) in enumerate(results):
        if rank:
            assert collected == alone == {}
        else:
            assert_identical(collected, whole)
            assert_identical(alone, {'state_dict': whole['state_dict']})
        assert local == 'DTensor'


def test_whole_model_is_collected_and_loaded_in_the_same_way(whole):
    model, optim = build(sharded=False, seed=1)
    load(whole, model, optim)
    assert_identical(collect_state(model, optim), whole)


def load_without_teacher(state):
    model, _ = build(seed=1)
    load_weights(model, state, source='a.pth')
    return collect_state(model)


def test_load_hooks_of_modules_get_unsharded_tensors(gloo_pool, whole):
    state = {k: v for k, v in whole['state_dict'].items() if not k.startswith('target.')}
    name = 'backbone.pos_embed'
    small = {**state, name: state[name][:, [0, 1, 4, 13, 16]]}  # of 2 x 2 patches
    expected = build(sharded=False, seed=1)[0]
    with pytest.warns(UserWarning, match='resized'):
        load_weights(expected, small, source='a.pth')
    loaded = gloo_pool.run(load_without_teacher, 2, small)[0]
    assert_identical(loaded['state_dict'], expected.state_dict())


def test_weight_of_another_shape_is_refused(gloo_pool, whole):
    state = {**whole['state_dict'], 'predictor.0.weight': torch.zeros(3, 7)}
    with pytest.raises(RuntimeError, match=r'1 of another shape: predictor.0.weight \(3, 7\)'):
        gloo_pool.run(load_without_teacher, 2, state)


def moments_held(state):
    """Elements of the optimizer's state that this process has, and their part of memory."""
    model, optim = build(seed=1)
    load(state, model, optim)
    moments = [m['exp_avg'].to_local() for m in optim.optimizer.state.values()]
    count = sum(m.numel() for m in moments)
    return count, sum(m.untyped_storage().nbytes() for m in moments) / 4 / count


def test_each_process_keeps_only_its_shard_of_the_optimizer_state(gloo_pool, whole):
    total = sum(m['exp_avg'].numel() for m in whole['optimizer']['state'].values())
    for count, stored in gloo_pool.run(moments_held, 2, whole):
        assert 0.4 < count / total < 0.6
        assert stored == 1


# ------------------------------------------------------------------------------- runs
class Watch(Hook):
    """Keeps the losses, and whole weights at the beginning and the end."""

    priority = 'VERY_LOW'

    def __init__(self, stop_in_epoch=None):
        self.losses, self.stop_in_epoch = [], stop_in_epoch

    def before_train(self, runner):
        self.begin = collect_state(runner.model)

    def before_train_epoch(self, runner):
        if runner.epoch == self.stop_in_epoch:
            raise KeyboardInterrupt

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())

    def after_train(self, runner):
        self.end = collect_state(runner.model, runner.optim_wrapper)


def run(work_dir, wrapper='FullyShard', stop_in_epoch=None, resume=False):
    """Trains two epochs of four batches with a teacher; returns what `Watch` saw."""
    torch.manual_seed(0)
    samples = [{'inputs': list(255 * torch.rand(2, 3, 16, 16))} for _ in range(32)]
    watch = Watch(stop_in_epoch)
    torch.manual_seed(rank_and_world_size()[0])
    distributed = dict(launcher='pytorch') if torch.distributed.is_initialized() else {}
    os.environ['LOCAL_RANK'] = '0'  # MMEngine reads it for DDP, also where it isn't used
    options = {} if wrapper == 'FullyShard' else dict(device_ids=None)
    runner = toy_runner(
        work_dir,
        model=config_of(),
        hooks=[dict(type='TargetEMAHook'), dict(type='StepSeedHook'), watch],
        train_dataloader=dict(
            batch_size=4,
            dataset=samples,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        optim_wrapper=dict(
            constructor='CheckedOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.1),
            paramwise_cfg=dict(flat_decay_mult=0.0),
        ),
        randomness=dict(seed=3, diff_rank_seed=True),
        default_hooks=dict(
            checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=1)
        ),
        cfg=dict(model_wrapper_cfg=dict(type=wrapper, **options)),
        resume=resume,
        **distributed,
    )
    try:
        runner.train()
    except KeyboardInterrupt:
        return None
    return watch.begin, watch.losses, watch.end


@pytest.mark.slow
def test_initial_weights_equal_those_of_one_process(gloo_pool, tmp_path):
    begin, _, _ = run(tmp_path / 'one')
    results = gloo_pool.run(run, 2, tmp_path / 'two')
    assert_identical(results[0][0], begin)


DDP, SHARDED = 'MMDistributedDataParallel', 'FullyShard'


@pytest.mark.slow
@pytest.mark.parametrize(('first', 'second'), [(SHARDED, SHARDED), (DDP, SHARDED), (SHARDED, DDP)])
def test_resumed_run_equals_an_uninterrupted_one(gloo_pool, tmp_path, first, second):
    _, losses, end = gloo_pool.run(run, 2, tmp_path / 'whole', first)[0]
    assert gloo_pool.run(run, 2, tmp_path / 'parts', first, 1) == [None, None]
    _, resumed, reached = gloo_pool.run(run, 2, tmp_path / 'parts', second, None, True)[0]
    assert len(losses) == 8 and resumed == losses[4:]
    assert_identical(reached, end)


@pytest.mark.slow
def test_checkpoint_of_a_sharded_run_resumes_in_one_process(gloo_pool, tmp_path):
    _, _, end = gloo_pool.run(run, 2, tmp_path)[0]
    checkpoint = torch.load(tmp_path / 'epoch_2.pth', weights_only=False)
    assert_identical(dict(checkpoint['state_dict']), dict(end['state_dict']))
    assert_identical(checkpoint['optimizer']['state'], end['optimizer']['state'])
    gloo_pool.run(run, 2, tmp_path / 'one', SHARDED, 1)
    _, losses, _ = run(tmp_path / 'one', resume=True)
    assert len(losses) == 8  # of an epoch of eight batches


def evaluate(checkpoint):
    model, _ = build(seed=4)
    load_weights(model, torch.load(checkpoint, weights_only=False)['state_dict'], source='a.pth')
    torch.manual_seed(0)
    clips = list(255 * torch.rand(3, 2, 3, 16, 16))
    samples = [DataSample() for _ in clips]
    with torch.no_grad():
        for _ in range(2):  # the second without taking apart what the first put together
            found = model.eval().val_step(dict(inputs=clips, data_samples=samples))
    return torch.stack([sample.feature for sample in found]), collect_state(model)


def test_features_equal_those_of_the_unsharded_model_and_keep_its_state(gloo_pool, tmp_path, whole):
    torch.save(whole, tmp_path / 'a.pth')
    (features, state), (other, _) = gloo_pool.run(evaluate, 2, tmp_path / 'a.pth')
    assert_identical(state['state_dict'], whole['state_dict'])
    model, _ = build(sharded=False)
    model.load_state_dict(whole['state_dict'])
    torch.manual_seed(0)
    clips = list(255 * torch.rand(3, 2, 3, 16, 16))
    data = model.data_preprocessor(Clips(clips))
    expected = model.eval().extract_clip_feat(data.inputs)
    torch.testing.assert_close(features, expected.detach())
    assert torch.equal(features, other)
