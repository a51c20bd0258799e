# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A run that continues with other batches: the same data in the same order, and schedules where they belong."""

import pytest
import torch
from mmengine.hooks import Hook
from torch.utils.data import Dataset

from vicmae.testing import toy_runner

SIZE = 48


class Numbers(Dataset):
    """Two numbers a view and its index, which follow from the sample's key."""

    kind = 'image'

    def __len__(self):
        return SIZE

    def path_of(self, index):
        return str(index)

    def __getitem__(self, key):
        numbers = torch.from_numpy(key.generator().random((2, 2), dtype='float32'))
        return dict(inputs=list(numbers), data_samples=key.index)


class Recorder(Hook):
    """What a run was fed, and at which learning rate."""

    def __init__(self, stop_at=None):
        self.seen, self.rates, self.stop_at = [], [], stop_at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append(sorted(data_batch['data_samples'].tolist()))
        self.rates += runner.optim_wrapper.get_lr()['lr']


IN_EPOCHS = [
    dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=2, begin=1, end=3, convert_to_iter_based=True),
]
IN_SHARES = [
    dict(type='WarmupLR', share=0.2, by_epoch=False),
    dict(type='CosineLR', warmup_share=0.2, by_epoch=False),
]


def run(
    work_dir,
    batch_size,
    *,
    resume=False,
    stop_at=None,
    loop=None,
    accumulate=1,
    schedule=IN_EPOCHS,
):
    recorder = Recorder(stop_at)
    runner = toy_runner(
        work_dir,
        hooks=[recorder],
        resume=resume,
        default_hooks=dict(
            checkpoint=dict(type='SafeCheckpointHook', by_epoch=False, interval=1, max_keep_ckpts=1)
        ),
        train_cfg=loop or dict(type='EpochLoop', max_epochs=3),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.01, momentum=0.9), accumulative_counts=accumulate
        ),
        param_scheduler=schedule,
        train_dataloader=dict(
            batch_size=batch_size,
            dataset=Numbers(),
            sampler=dict(type='MixtureSampler', seed=0),
            collate_fn=dict(type='default_collate'),
            drop_last=True,
        ),
    )
    if stop_at is None:
        runner.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    return runner, recorder


def flat(batches):
    return [index for batch in batches for index in batch]


@pytest.mark.parametrize(('before', 'after', 'stop_at'), [(8, 4, 8), (4, 8, 14), (8, 16, 9)])
def test_run_resumes_with_another_batch_size(tmp_path, before, after, stop_at):
    run(tmp_path, before, stop_at=stop_at)
    runner, rest = run(tmp_path, after, resume=True)
    _, whole = run(tmp_path / 'whole', after)
    begun = stop_at * before // after
    # The same samples as in a run that always had such batches, at the same learning rates.
    assert rest.seen == whole.seen[begun:]
    assert rest.rates == pytest.approx(whole.rates[begun:], rel=1e-9)
    assert runner.iter == len(whole.seen)
    log = ''.join(path.read_text() for path in tmp_path.glob('2*/*.log'))
    assert f'iteration {stop_at} becomes {begun} of {3 * SIZE // after}' in log


def test_run_resumes_between_two_steps_of_the_optimiser(tmp_path):
    run(tmp_path, 8, stop_at=3)  # 24 samples, six batches of 4, and three of 12
    _, rest = run(tmp_path, 4, resume=True, accumulate=4)
    assert len(rest.seen) == 3 * SIZE // 4 - 4


def test_checkpoint_with_equal_batches_resumes_at_its_position(tmp_path):
    run(tmp_path, 8, stop_at=8)
    _, rest = run(tmp_path, 8, resume=True)
    _, whole = run(tmp_path / 'whole', 8)
    assert rest.seen == whole.seen[8:]
    assert rest.rates == whole.rates[8:]


@pytest.mark.parametrize(
    ('short', 'long'),
    [
        (dict(type='EpochLoop', max_epochs=1), dict(type='EpochLoop', max_epochs=3)),
        (dict(type='IterLoop', max_iters=6), dict(type='IterLoop', max_iters=18)),
    ],
)
def test_run_that_is_resumed_for_longer_has_the_schedule_of_its_new_length(tmp_path, short, long):
    run(tmp_path, 8, loop=short, schedule=IN_SHARES)
    _, rest = run(tmp_path, 8, loop=long, schedule=IN_SHARES, resume=True)
    _, whole = run(tmp_path / 'whole', 8, loop=long, schedule=IN_SHARES)
    assert rest.rates == pytest.approx(whole.rates[6:])


# ------------------------------------------------------------------------- iterations
ITERATIONS = dict(type='IterLoop', max_iters=17)


@pytest.mark.slow
@pytest.mark.parametrize('stop_at', [1, 6, 7, 13])
def test_iteration_loop_resumes_in_any_epoch(tmp_path, stop_at):
    run(tmp_path, 8, stop_at=stop_at, loop=ITERATIONS)
    resumed, rest = run(tmp_path, 8, resume=True, loop=ITERATIONS)
    runner, whole = run(tmp_path / 'whole', 8, loop=ITERATIONS)
    assert rest.seen == whole.seen[stop_at:]
    for name, tensor in runner.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name])


def test_each_epoch_of_an_iteration_loop_has_another_order(tmp_path):
    _, recorder = run(tmp_path, 8, loop=ITERATIONS)
    first, second = (flat(recorder.seen[start : start + 6]) for start in (0, 6))
    assert sorted(first) == sorted(second) == list(range(SIZE))
    assert first != second


def test_iteration_loop_resumes_its_data_with_other_batches(tmp_path):
    run(tmp_path, 8, stop_at=9, loop=ITERATIONS)  # half of the second epoch
    runner, rest = run(tmp_path, 4, resume=True, loop=ITERATIONS)
    assert len(rest.seen) == 17 - 9
    _, whole = run(tmp_path / 'whole', 8, loop=ITERATIONS)
    assert sorted(flat(rest.seen[:6])) == sorted(flat(whole.seen[9:12]))
    assert runner.train_loop.batches.position == (2, 2)


# ------------------------------------------------------------------------- learning rate
@pytest.mark.parametrize(('accumulate', 'expected'), [(1, 0.02), (4, 0.08)])
def test_scaled_learning_rate_counts_accumulation(tmp_path, accumulate, expected):
    runner = toy_runner(
        tmp_path,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01), accumulative_counts=accumulate),
        auto_scale_lr=dict(enable=True, base_batch_size=2),
        max_epochs=1,
    )
    runner.train()
    assert runner.optim_wrapper.get_lr()['lr'] == [pytest.approx(expected)]


def test_accumulated_and_resumed_steps_give_no_warning_about_schedules(tmp_path, recwarn):
    run(tmp_path, 6, accumulate=2, stop_at=4)
    run(tmp_path, 4, accumulate=2, resume=True)
    assert [w for w in recwarn if 'scheduler' in str(w.message)] == []
