# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What a run has been fed: in the log after each epoch, as curves, and counted on after a resume."""

import json
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from vicmae.datasets import MixedDataset
from vicmae.engine.hooks import DataLogHook
from vicmae.errors import DataError
from vicmae.testing import toy_runner


class Numbers(Dataset):
    kind = 'video'

    def __init__(self, size, bad=()):
        self.size, self.bad = size, bad
        self.notes = 0

    def __len__(self):
        return self.size

    def path_of(self, index):
        return str(index)

    def __getitem__(self, key):
        if key.index in self.bad:
            raise DataError('broken')
        self.notes += 1
        return dict(inputs=list(torch.zeros(2, 2)))

    def drain_notes(self):
        notes, self.notes = self.notes, 0
        return {'something to note': notes} if notes else {}


def train(work_dir, max_epochs=2, **kwargs):
    mixed = MixedDataset(dict(images=Numbers(8), videos=Numbers(4, bad=(1,))))
    runner = toy_runner(
        work_dir,
        max_epochs=max_epochs,
        hooks=[DataLogHook(interval=2)],
        checkpoints=True,
        train_dataloader=dict(
            batch_size=4,
            dataset=mixed,
            sampler=dict(type='MixtureSampler', seed=0),
            collate_fn=dict(type='default_collate'),
            max_bad_fraction=1.0,
        ),
        **kwargs,
    )
    runner.train()
    return runner


def lines_of(work_dir):
    text = ''.join(path.read_text() for path in sorted(work_dir.rglob('*.log')))
    return [line.split(' - ')[-1] for line in text.splitlines() if 'Visits so far' in line]


def test_line_after_each_epoch_counts_sources_bad_samples_and_notes(tmp_path):
    train(tmp_path)
    first, second = lines_of(tmp_path)
    assert first.startswith('Visits so far: 8 images, 4 videos. 1 could not be read')
    assert second.startswith('Visits so far: 16 images, 8 videos. ')


def test_event_is_logged_once_also_after_a_resume(tmp_path):
    train(tmp_path)
    train(tmp_path, max_epochs=3, resume=True)
    text = ''.join(path.read_text() for path in tmp_path.rglob('*.log'))
    assert text.count('something to note') == 1
    assert 'In the data so far, 12 x something to note.' in text


def test_curves_are_written_for_each_source(tmp_path):
    train(tmp_path, max_epochs=1)
    text = next(tmp_path.rglob('scalars.json')).read_text()
    rows = [json.loads(line) for line in text.splitlines() if 'data/images' in line]
    assert [row['step'] for row in rows] == [2]
    assert rows[0]['data/images'] + rows[0]['data/videos'] == 8
    assert 'data/bad' in rows[0]


def test_counts_continue_after_a_resume(tmp_path):
    train(tmp_path, max_epochs=1)
    train(tmp_path, max_epochs=2, resume=True)
    assert lines_of(tmp_path)[-1].startswith('Visits so far: 16 images, 8 videos.')


def train_and_read(work_dir, max_epochs, resume):
    """On each rank: the last line of the log, and what a checkpoint holds."""
    runner = train(Path(work_dir), max_epochs, resume=resume)
    return lines_of(Path(work_dir))[-1:], runner.message_hub.get_info('data_seen')


def test_counts_are_those_of_all_ranks_also_after_a_resume(gloo_pool, tmp_path):
    (lines, state), (_, others) = gloo_pool.run(train_and_read, 2, str(tmp_path), 1, False)
    assert lines[0].startswith('Visits so far: 8 images, 4 videos. 1 could not be read')
    assert (
        state
        == others
        == dict(seen=dict(images=8, videos=4), bad=dict(samples=1), notes={'something to note': 12})
    )
    (lines, state), _ = gloo_pool.run(train_and_read, 2, str(tmp_path), 2, True)
    assert lines[0].startswith('Visits so far: 16 images, 8 videos.')
    # A resume on another number of ranks continues with the same counts.
    train(tmp_path, 3, resume=True)
    assert lines_of(tmp_path)[-1].startswith('Visits so far: 24 images, 12 videos.')


def test_invalid_interval_is_refused():
    with pytest.raises(ValueError, match='`interval` must be at least 1 step, got 0'):
        DataLogHook(interval=0)
