# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Resuming in the middle of an epoch: the same run as one without a break, and nothing read again."""

import pytest
import torch
from mmengine.hooks import Hook
from torch.utils.data import Dataset

from vicmae.engine.hooks import DataLogHook
from vicmae.errors import DataError
from vicmae.testing import toy_runner


class Numbers(Dataset):
    """Two numbers a view, which follow from the sample's key."""

    kind = 'image'

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def path_of(self, index):
        return str(index)

    def __getitem__(self, key):
        if key.index == 5:
            raise DataError('broken')
        return dict(inputs=list(torch.from_numpy(key.generator().random((2, 2), dtype='float32'))))


class Stop(Exception):
    pass


class StopAt(Hook):
    priority = 'LOWEST'  # after the checkpoint

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            raise Stop


class Recorder(Hook):
    def __init__(self):
        self.batches, self.numbers = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.numbers.append((runner.epoch, batch_idx))
        self.batches.append(torch.cat(list(data_batch['inputs'])).tolist())


def train(work_dir, stop_at=None, resume=False):
    torch.manual_seed(0)
    recorder = Recorder()
    hooks = [recorder, DataLogHook(interval=1)]
    if stop_at:
        hooks.append(StopAt(stop_at))
    runner = toy_runner(
        work_dir,
        hooks=hooks,
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1, max_keep_ckpts=1),
        ),
        resume=resume,
        train_cfg=dict(type='EpochLoop', max_epochs=3),
        train_dataloader=dict(
            batch_size=4,
            dataset=Numbers(18),
            sampler=dict(type='MixtureSampler', seed=0),
            collate_fn=dict(type='default_collate'),
            max_bad_fraction=0.2,
            drop_last=True,
        ),
    )
    if stop_at:
        with pytest.raises(Stop):
            runner.train()
    else:
        runner.train()
    return runner, recorder


@pytest.mark.parametrize('stop_at', [1, 2, 4, 6, 11])
def test_run_resumed_in_mid_epoch_ends_as_one_without_a_break(tmp_path, stop_at):
    whole, seen = train(tmp_path / 'whole')
    train(tmp_path / 'part', stop_at=stop_at)
    resumed, rest = train(tmp_path / 'part', resume=True)
    assert rest.batches == seen.batches[-len(rest.batches) :]
    assert rest.numbers == seen.numbers[-len(rest.numbers) :]
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name])
    # What was seen is counted on, too.
    assert resumed.message_hub.get_info('data_seen') == whole.message_hub.get_info('data_seen')
