# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Going back to a checkpoint after too many bad steps, and passing over the batches that led there."""

import json

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from torch.utils.data import Dataset

from vicmae.engine.bad_steps import GuardState
from vicmae.engine.hooks import StepGuardHook
from vicmae.engine.optimizers import GuardedOptimWrapper
from vicmae.errors import TrainingError
from vicmae.registry import OPTIM_WRAPPERS
from vicmae.testing import PoisonPixels, toy_runner

BATCHES = 4  # of an epoch; three epochs


class Numbers(Dataset):
    """Two numbers a view, which follow from the sample's key."""

    kind = 'image'

    def __len__(self):
        return 4 * BATCHES

    def __getitem__(self, key):
        return dict(inputs=list(torch.from_numpy(key.generator().random((2, 2), dtype='float32'))))


class Watch(Hook):
    """Keeps which batch an iteration had, whether it trained, its learning rate, and the weights after it."""

    priority = 'LOWEST'

    def __init__(self):
        self.rows, self.weights = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        rate = runner.optim_wrapper.get_lr()['lr'][0]
        self.rows.append((runner.iter, runner.epoch, batch_idx, outputs is not None, rate))
        self.weights.append(runner.model.state_dict())
        self.weights[-1] = {name: t.clone() for name, t in self.weights[-1].items()}

    @property
    def iterations(self):
        return [row[0] for row in self.rows]

    @property
    def passed_over(self):
        return [row[0] for row in self.rows if not row[3]]


EPOCHS = dict(type='EpochLoop', max_epochs=3)
ITERATIONS = dict(type='IterLoop', max_iters=12)


def train(
    work_dir,
    *hooks,
    data_parallel=False,
    workers=0,
    accumulate=1,
    every=BATCHES,
    keep=-1,
    loop=EPOCHS,
    optim_wrapper=None,
    **guard,
):
    """Trains with a checkpoint every so many iterations."""
    torch.manual_seed(0)
    resume = guard.pop('resume', False)
    settings = dict(
        max_bad_steps=2, when_exceeded='rewind', rewind_margin=0, max_rewinds=3, max_records=1
    )
    watch = Watch()
    runner = toy_runner(
        work_dir,
        hooks=[StepGuardHook(**(settings | guard)), *hooks, watch],
        default_hooks=dict(
            checkpoint=dict(
                type='SafeCheckpointHook', by_epoch=False, interval=every, max_keep_ckpts=keep
            ),
        ),
        resume=resume,
        train_cfg=loop,
        optim_wrapper=optim_wrapper
        or dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9), accumulative_counts=accumulate),
        param_scheduler=dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=12),
        train_dataloader=dict(
            batch_size=4 if not data_parallel else 2,
            num_workers=workers,
            persistent_workers=workers > 0,
            dataset=Numbers(),
            sampler=dict(type='MixtureSampler', seed=0),
            collate_fn=dict(type='default_collate'),
            drop_last=True,
        ),
    )
    if data_parallel:
        runner.model = MMDistributedDataParallel(runner.model)
    runner.train()
    return watch, runner


def test_rewind_loads_the_checkpoint_and_skips_the_bad_batches(tmp_path):
    watch, runner = train(tmp_path, PoisonPixels(5, 6))
    assert watch.iterations == [0, 1, 2, 3, 4, 5, *range(4, 12)]
    assert watch.passed_over == [5, 6]
    assert [row[:3] for row in watch.rows[-8:]] == [(i, i // 4, i % 4) for i in range(4, 12)]
    assert all(tensor.isfinite().all() for tensor in runner.model.state_dict().values())
    state = GuardState.of(runner)
    assert (state.rewinds, state.total, state.in_a_row) == (1, 2, 0)
    assert state.passed_over == [[5, 7]]


def test_iteration_loop_rewinds_too(tmp_path):
    watch, runner = train(tmp_path, PoisonPixels(5, 6), loop=ITERATIONS)
    assert watch.iterations == [0, 1, 2, 3, 4, 5, *range(4, 12)]
    assert watch.passed_over == [5, 6]
    assert all(tensor.isfinite().all() for tensor in runner.model.state_dict().values())
    epochs, _ = train(tmp_path / 'epochs', PoisonPixels(5, 6))
    last, others_last = watch.weights[-1], epochs.weights[-1]  # of the same batches
    assert all(torch.equal(last[name], others_last[name]) for name in last)


@OPTIM_WRAPPERS.register_module()
class RewoundOptimWrapper(GuardedOptimWrapper):
    """Skips as on a GPU, where the host looks only now and then."""

    def skips_on_device(self):
        return True


@pytest.mark.parametrize(
    ('every', 'interval', 'seen'),
    [(4, 100, 7), (4, 3, 6), (1, 100, 6)],
    ids=['end of epoch', 'interval', 'checkpoint'],
)
def test_rewind_of_steps_skipped_on_the_device_skips_the_same_batches(
    tmp_path, every, interval, seen
):
    adam = dict(type='AdamW', lr=0.01, eps=0.01, fused=True)
    options = dict(every=every, check_interval=interval)
    wrapper = dict(type='RewoundOptimWrapper', optimizer=adam)
    watch, runner = train(tmp_path, PoisonPixels(4, 5), optim_wrapper=wrapper, **options)
    assert watch.iterations == [*range(seen), *range(4, 12)]
    assert watch.passed_over == [4, 5]
    state = GuardState.of(runner)
    assert (state.rewinds, state.total) == (1, 2)
    wrapper = dict(optimizer=adam)
    host, _ = train(tmp_path / 'host', PoisonPixels(4, 5), optim_wrapper=wrapper, **options)
    for name, tensor in host.weights[-1].items():
        torch.testing.assert_close(watch.weights[-1][name], tensor)


def test_rewind_uses_an_existing_checkpoint(tmp_path):
    # The host looks while a checkpoint is collected, which then replaces the only one from before.
    wrapper = dict(
        type='RewoundOptimWrapper',
        optimizer=dict(type='AdamW', lr=0.01, eps=0.01, fused=True),
    )
    options = dict(every=1, keep=1, check_interval=100, optim_wrapper=wrapper)
    watch, runner = train(tmp_path, PoisonPixels(4, 5), **options)
    assert GuardState.of(runner).rewinds == 1
    assert watch.iterations[-1] == 11
    assert all(tensor.isfinite().all() for tensor in runner.model.state_dict().values())


@pytest.mark.parametrize('loop', [None, ITERATIONS], ids=['epochs', 'iterations'])
def test_record_names_epoch_and_batch_of_either_loop(tmp_path, loop):
    train(tmp_path, PoisonPixels(5, 6), **(dict(loop=loop) if loop else {}))
    record = json.loads((tmp_path / 'bad_steps/iter_6/rank_0.json').read_text())
    assert [(b['iteration'], b['epoch'], b['batch']) for b in record['batches']] == [(6, 2, 2)]


def test_skipped_iterations_count_for_the_schedule_without_training(tmp_path):
    plain, _ = train(tmp_path / 'plain')
    watch, _ = train(tmp_path / 'bad', PoisonPixels(5, 6))
    rates = [row[4] for row in plain.rows]
    assert [row[4] for row in watch.rows] == pytest.approx([*rates[:6], *rates[4:]])
    before, first, second = watch.weights[6:9]
    assert all(
        torch.equal(first[n], before[n]) and torch.equal(second[n], before[n]) for n in first
    )


@pytest.mark.parametrize(('margin', 'expected'), [(1, [6, 7, 8]), (2, [5, 6, 7, 8])])
def test_margin_skips_batches_before_the_bad_ones(tmp_path, margin, expected):
    watch, _ = train(tmp_path, PoisonPixels(7, 8), rewind_margin=margin)
    assert watch.passed_over == expected


def test_margin_ends_where_the_checkpoint_is(tmp_path):
    watch, runner = train(tmp_path, PoisonPixels(6, 7), rewind_margin=100)
    assert watch.passed_over == [4, 5, 6, 7]
    assert GuardState.of(runner).passed_over == [[4, 8]]


def test_rewind_does_not_use_a_checkpoint_between_bad_steps(tmp_path):
    watch, _ = train(tmp_path, PoisonPixels(7, 8))  # and one is written after 7
    assert watch.iterations == [*range(8), *range(4, 12)]


def test_workers_that_were_ahead_of_the_rewind_deliver_the_right_batches(tmp_path):
    alone, _ = train(tmp_path / 'alone', PoisonPixels(5, 6))
    watch, _ = train(tmp_path / 'workers', PoisonPixels(5, 6), workers=1)
    assert watch.rows == alone.rows
    last, others_last = watch.weights[-1], alone.weights[-1]
    assert all(torch.equal(last[name], others_last[name]) for name in last)


def test_accumulated_batches_are_skipped_together(tmp_path):
    watch, runner = train(
        tmp_path, PoisonPixels(7, 8), accumulate=2, max_bad_steps=2, rewind_margin=1
    )
    assert watch.passed_over == [4, 5, 6, 7, 8, 9]
    assert runner.optim_wrapper.inner_count == 12
    assert watch.iterations[-8:] == list(range(4, 12))


def test_run_stops_after_the_maximal_number_of_rewinds(tmp_path):
    message = r'went back to a checkpoint 2 times already.*`default_hooks.step_guard.max_rewinds`'
    with pytest.raises(TrainingError, match=message):
        train(tmp_path, PoisonPixels(*range(5, 12)), max_rewinds=2)


def test_run_without_a_checkpoint_stops_instead_of_rewinding(tmp_path):
    train(tmp_path)  # leaves checkpoints of another run
    with pytest.raises(TrainingError, match='There is no checkpoint of this run yet to go back to'):
        train(tmp_path, PoisonPixels(1, 2))


class Stop(Exception):
    pass


class StopAt(Hook):
    priority = 'LOWEST'

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.iteration and GuardState.of(runner).rewinds:
            raise Stop


def test_resumed_run_skips_the_same_batches(tmp_path):
    whole, _ = train(tmp_path / 'whole', PoisonPixels(5, 6, 7), max_bad_steps=3, every=1)
    with pytest.raises(Stop):
        train(tmp_path / 'part', PoisonPixels(5, 6, 7), StopAt(5), max_bad_steps=3, every=1)
    resumed, runner = train(tmp_path / 'part', every=1, resume=True)
    assert resumed.iterations == list(range(6, 12))
    assert resumed.passed_over == [6, 7]
    assert GuardState.of(runner).rewinds == 1
    last, others_last = resumed.weights[-1], whole.weights[-1]
    assert all(torch.equal(last[name], others_last[name]) for name in last)


def train_on_rank(work_dir):
    watch, runner = train(work_dir, PoisonPixels(5, 6, rank=1), data_parallel=True)
    return watch.passed_over, watch.iterations, runner.model.module.state_dict()


@pytest.mark.slow
def test_all_ranks_rewind_together(tmp_path, gloo_pool):
    first, second = gloo_pool.run(train_on_rank, 2, tmp_path)
    assert first[:2] == second[:2] == ([5, 6], [0, 1, 2, 3, 4, 5, *range(4, 12)])
    assert all(torch.equal(first[2][name], second[2][name]) for name in first[2])
    assert all(tensor.isfinite().all() for tensor in first[2].values())
