# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Time that is known to be spent somewhere is found there."""

import time

import numpy as np
import pytest
from torch.utils.data import default_collate

from vicmae.data_tools.speed.stages import measure_stages
from vicmae.datasets import SampleKey
from vicmae.datasets.sources.image_folder import ImageFolder
from vicmae.datasets.sources.source import Source
from vicmae.datasets.transforms.view_change import ViewChange
from vicmae.errors import DataError
from vicmae.structures import FIELDS, NO_LABEL

from ..toy_video import ToyVideo


class Clock:
    """Stands still but for naps, so that other work on the machine doesn't show."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def nap(self, number=1):
        self.now += number


CLOCK = Clock()


class SlowReader(ToyVideo):
    """A video whose every frame takes a nap, and the way to the first one that is asked for ten."""

    def frames(self, ids):
        CLOCK.nap((10 if ids[0] else 0) + len(ids))
        return super().frames(ids)


class SlowVideos(Source):
    kind = 'video'

    def __len__(self):
        return 10

    def get_data_info(self, index):
        CLOCK.nap(2)
        return dict(
            path=f'{index}.mp4', gt_label=NO_LABEL, media=SlowReader(40, height=16, width=16)
        )


class SlowColour(ViewChange):
    stage = 'jitter'

    def __init__(self):
        super().__init__(prob=1.0)

    def draw_change(self, rng):
        return dict(hue=0.1)

    def apply(self, img, drawn):
        CLOCK.nap()
        return img


def slow_step(results):
    CLOCK.nap(3)
    return results


def views(*changes):
    crop = dict(type='RandomResizedCrop', size=16)
    return [dict(type='TwoViews', transforms=[crop, *changes]), dict(type='PackViews')]


def measure(source, number=6, visits=1, clock=CLOCK):
    keys = [SampleKey(0, 0, index, visit) for index in range(number) for visit in range(visits)]
    return measure_stages(source, keys, default_collate, 60, clock)


def fixed(gap):
    return dict(type='FixedGapFramePair', gap=gap)


def test_naps_are_found_where_they_were_taken():
    pipeline = [dict(type='OpenVideo'), fixed(3), dict(type='DecodeFrames'), slow_step]
    stages = measure(SlowVideos(pipeline=[*pipeline, *views(SlowColour())]))
    naps = {name: seconds for name, seconds in stages.seconds.items() if seconds}
    expected = {'find': 2, 'seek': 10, 'decode': 2, 'colour': 2, 'all else': 3}
    # Of the six pairs one or the other may begin at the first frame, which is not on the way to another.
    assert naps.pop('seek') == pytest.approx(expected.pop('seek'), abs=2)
    assert naps == pytest.approx(expected)
    assert stages.total == sum(stages.seconds.values())
    assert (stages.floor, stages.wanted) == (2, 2)


def test_visits_of_one_opening_share_what_it_costs():
    pipeline = [dict(type='OpenVideo'), dict(type='SameFramePair'), dict(type='DecodeFrames')]
    source = SlowVideos(pipeline=[*pipeline, *views()], visits_per_opening=4)
    stages = measure(source, number=3, visits=4)
    assert stages.seconds['find'] == 2 / 4
    assert stages.wanted <= 1


def test_parts_of_real_samples_add_up_to_the_whole(demo_data):
    pipeline = [dict(type='LoadImage', lazy=True), *views(dict(type='RandomFlip'))]
    source = ImageFolder(str(demo_data / 'images/train'), pipeline=pipeline)
    stages = measure(source, number=len(source), clock=time.perf_counter)
    parts = dict(stages.seconds)
    assert (parts.pop('colour'), parts.pop('seek')) == (0, 0)
    assert min(parts.values()) > 0
    assert stages.floor == parts['decode']
    begin = time.perf_counter()
    for index in range(len(source)):
        source[SampleKey(0, 0, index)]
    whole = (time.perf_counter() - begin) / len(source)
    assert 0.3 < (stages.total - parts['collate']) / whole < 3  # other work on the machine


def test_sizes_are_those_of_the_file_and_of_the_tensors(demo_data):
    folder = demo_data / 'images/train'
    source = ImageFolder(str(folder), pipeline=[dict(type='LoadImage'), *views()])
    stages = measure(source, number=len(source), clock=time.perf_counter)
    files = [path.stat().st_size for path in folder.rglob('*.jpg')]
    assert stages.bytes_read == pytest.approx(np.mean(files), rel=0.01)
    assert stages.bytes_handed == 2 * (3 * 16 * 16 + 4 * len(FIELDS))  # pixels, and numbers
    assert (stages.decoded, stages.key_interval, stages.short_side) == (None, None, 80)


def test_loading_ends_in_time_and_passes_over_bad_files(tmp_path, demo_data):
    for n, path in enumerate(sorted((demo_data / 'images/train').rglob('*.jpg'))[:12]):
        (tmp_path / f'{n:02}.jpg').write_bytes(path.read_bytes() if n else b'')
    source = ImageFolder(str(tmp_path), pipeline=[dict(type='LoadImage'), *views()])
    keys = [SampleKey(0, 0, index) for index in range(12)]
    assert measure(source, number=12, clock=time.perf_counter).num_files == 11
    # Time that is up waits for eight files, bad ones among them.
    assert measure_stages(source, keys, default_collate, -1).num_files == 7
    with pytest.raises(DataError, match='Not one sample could be loaded'):
        measure(source, number=1)
