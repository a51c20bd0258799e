# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Visits to one file: opened and decoded once, each with random choices of its own."""

import faulthandler
import os
import time

import numpy as np
import pytest

from vicmae.datasets import MixedDataset, MixtureSampler, SampleKey
from vicmae.datasets.bad_files import BadFileLedger
from vicmae.datasets.loader.steady import SteadyLoader
from vicmae.datasets.sources.source import Source
from vicmae.io.video import VideoReader

VIEWS = [
    dict(type='TwoViews', transforms=[dict(type='RandomResizedCrop', size=8)]),
    dict(type='PackViews'),
]
READ = [
    dict(type='OpenVideo'),
    dict(type='DistantFramePair', window_frames=20),
    dict(type='DecodeFrames'),
]


class CountingReader(VideoReader):
    """Frames whose pixels are their number; keeps count of what is asked for."""

    num_frames, fps, height, width = 60, 30.0, 12, 16
    opened: list = []

    def __init__(self, name):
        self.name = name
        self.asked = []
        self.closed = False
        self.opened.append(self)

    def frames(self, ids):
        self.asked.append(list(ids))
        return [np.full((12, 16, 3), i, dtype=np.uint8) for i in ids]

    def ids_at(self, seconds):
        return [int(s * self.fps) for s in seconds]

    def close(self):
        self.closed = True


class SleepingReader(CountingReader):
    def frames(self, ids):
        time.sleep(1000)


class AbortingReader(CountingReader):
    def frames(self, ids):
        faulthandler.disable()  # pytest's prints all stacks
        os.abort()


class Readers(Source):
    """Videos of our own readers."""

    kind = 'video'

    def __init__(self, readers, **kwargs):
        super().__init__(**{'pipeline': [*READ, *VIEWS], **kwargs})
        self.readers = readers

    def __len__(self):
        return len(self.readers)

    def get_data_info(self, index):
        return dict(path=f'v{index}', gt_label=-1, media=self.readers[index](f'v{index}'))


@pytest.fixture(autouse=True)
def _nothing_opened():
    CountingReader.opened.clear()


def visits(index, count):
    return [SampleKey(0, 0, index, visit) for visit in range(count)]


def test_visits_to_one_file_open_it_once_and_decode_each_frame_once():
    source = Readers([CountingReader] * 3)
    samples = source.__getitems__([*visits(0, 4), *visits(2, 3)])
    assert len(samples) == 7
    assert [reader.name for reader in CountingReader.opened] == ['v0', 'v2']
    for reader in CountingReader.opened:
        (ids,) = reader.asked
        assert ids == sorted(set(ids))
        assert reader.closed


def test_visits_loaded_together_equal_those_loaded_alone():
    source = Readers([CountingReader] * 3)
    keys = [*visits(0, 4), *visits(2, 3), SampleKey(0, 0, 0, 9)]
    for key, together in zip(keys, source.__getitems__(keys), strict=True):
        alone = source[key]
        assert all((a == b).all() for a, b in zip(alone['inputs'], together['inputs'], strict=True))


def test_visits_differ():
    samples = Readers([CountingReader], pipeline=READ).__getitems__(visits(0, 16))
    assert len({tuple(sample['frame_ids']) for sample in samples}) > 8


def test_visits_to_a_video_are_different_clips_of_it_from_one_opening():
    clips = [
        dict(type='OpenVideo'),
        dict(type='DistantClips', num_segments=1, clip_len=4, frame_stride=3),
        dict(type='DecodeFrames'),
        dict(type='ClipViews', transforms=[dict(type='RandomResizedCrop', size=8)]),
        dict(type='PackViews'),
    ]
    samples = Readers([CountingReader] * 3, pipeline=clips).__getitems__(visits(1, 4))
    (reader,) = CountingReader.opened
    assert reader.name == 'v1'
    (ids,) = reader.asked
    assert ids == sorted(set(ids))
    times = [sample['inputs'][0][0, :, 0, 0].tolist() for sample in samples]  # pixels are numbers
    assert all(clip == list(range(clip[0], clip[0] + 12, 3)) for clip in times)
    assert len({clip[0] for clip in times}) == 4
    assert sorted({frame for clip in times for frame in clip}) == ids


def test_notes_of_transforms_are_drained_once():
    pipeline = [dict(type='OpenVideo'), dict(type='DistantFramePair', window_seconds=60.0)]
    mixed = MixedDataset(dict(videos=Readers([CountingReader] * 2, pipeline=pipeline)))
    mixed.__getitems__([SampleKey(0, 0, 0), SampleKey(0, 0, 1)])
    assert mixed.drain_notes() == {
        'a video shorter than the window, taken whole (`window_seconds=` lowers it)': 2
    }
    assert mixed.drain_notes() == {}


def test_no_visits_open_no_file():
    with pytest.raises(ValueError, match='`visits_per_opening` must be at least 1, got 0'):
        Readers([], visits_per_opening=0)


@pytest.mark.parametrize(
    ('reader', 'reason'), [(SleepingReader, 'Took longer than 3 s'), (AbortingReader, 'SIGABRT')]
)
def test_reader_that_hangs_or_dies_costs_its_video_and_not_the_run(tmp_path, reader, reason):
    # Long enough for a good video on a machine with other work; an abort is noticed at once.
    seconds = 3 if reader is SleepingReader else 60

    def loader(bad, num_workers):
        mixed = MixedDataset(
            dict(videos=Readers([bad if i == 3 else CountingReader for i in range(12)]))
        )
        ledger = BadFileLedger(tmp_path / 'bad_files.jsonl', max_fraction=1)
        return SteadyLoader(
            mixed,
            batch_size=2,
            sampler=MixtureSampler(mixed, seed=0),
            num_workers=num_workers,
            ledger=ledger,
            sample_seconds=seconds,
        )

    got = [batch['inputs'] for batch in loader(reader, num_workers=2)]
    assert reason in (tmp_path / 'bad_files.jsonl').read_text()
    # Known as fatal now: without workers, and in one go, the same samples in the same order.
    again = [batch['inputs'] for batch in loader(reader, num_workers=0)]
    assert len(got) == 6
    for views, others in zip(got, again, strict=True):
        assert all((a == b).all() for a, b in zip(views, others, strict=True))
