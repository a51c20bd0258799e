# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Advice is what helps on files that are known to be slow."""

import av
import cv2
import numpy as np
import pytest
from torch.utils.data import default_collate

from vicmae.data_tools.speed.stages import load_for, measure_stages
from vicmae.data_tools.speed.trials import advise
from vicmae.datasets import ImageFolder, SampleKey, VideoFolder


def views(*changes):
    crop = dict(type='RandomResizedCrop', size=32)
    return [dict(type='TwoViews', transforms=[crop, *changes]), dict(type='PackViews')]


PAIRS = [dict(type='OpenVideo'), dict(type='DistantFramePair'), dict(type='DecodeFrames')]


def advice_on(source):
    keys = [SampleKey(0, 0, index, visit) for visit in range(2) for index in range(len(source))]
    groups, samples = load_for(60, source, keys)
    stages = measure_stages(source, groups, samples, default_collate)
    return advise(source, stages, groups)


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    """Eight clips with a single key frame each."""
    folder = tmp_path_factory.mktemp('clips')
    scene = np.random.default_rng(0).integers(256, size=(20, 60, 3), dtype=np.uint8)
    scene = cv2.resize(scene, (960, 192), interpolation=cv2.INTER_CUBIC)
    for n in range(8):
        with av.open(str(folder / f'{n}.mp4'), 'w') as container:
            stream = container.add_stream('libx264', rate=25)
            stream.width, stream.height, stream.pix_fmt = 256, 192, 'yuv420p'
            stream.options = {'preset': 'veryfast', 'x264-params': 'keyint=999:scenecut=0'}
            for frame in range(120):
                left = 4 * frame + 20 * n
                pixels = np.ascontiguousarray(scene[:, left : left + 256])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
            container.mux(stream.encode())
    return folder


@pytest.mark.slow
def test_clips_with_few_key_frames_are_to_be_packed(clips):
    best, *others = advice_on(VideoFolder(str(clips), pipeline=[*PAIRS, *views()]))
    assert 'pack.py' in best.change
    assert best.factor > 2
    assert best.how == 'measured on 8 videos'
    assert [a.factor for a in (best, *others)] == sorted(
        (a.factor for a in (best, *others)), reverse=True
    )
    changes = ' '.join(a.change for a in (best, *others))
    assert '--gop 12 --tune fastdecode' in changes
    assert 'visits_per_opening=4' in changes
    (packed,) = [a for a in (best, *others) if '--gop' in a.change]
    assert 'key frames lie 120 frames apart' in packed.reason


def test_fewer_than_eight_files_give_no_ratio(clips, tmp_path):
    for path in sorted(clips.iterdir())[:7]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert advice_on(VideoFolder(str(tmp_path), pipeline=[*PAIRS, *views()])) == []


def test_shares_are_of_the_time_that_the_report_prints(demo_data):
    blur = dict(type='GaussianBlur', sigma=(2.0, 2.0), prob=1.0)
    pipeline = [dict(type='LoadImage'), *views(*[blur] * 100)]
    source = ImageFolder(str(demo_data / 'images/train'), pipeline=pipeline)
    keys = [SampleKey(0, 0, index) for index in range(len(source))]
    groups, samples = load_for(60, source, keys)
    stages = measure_stages(source, groups, samples, default_collate)
    whole = 2 * stages.total  # as much again is waiting
    best, *_ = advise(source, stages, groups, whole)
    share = stages.seconds['colour'] / whole
    assert best.reason == f"colour takes {share:.0%} of a worker's time"


@pytest.mark.slow
def test_several_visits_are_not_advised_where_there_are_several(clips):
    source = VideoFolder(str(clips), pipeline=[*PAIRS, *views()], visits_per_opening=4)
    assert 'visits_per_opening' not in ' '.join(a.change for a in advice_on(source))


def test_large_pictures_are_to_be_shrunk(tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(60, 80, 3), dtype=np.uint8)
    for n in range(8):
        large = cv2.resize(np.roll(noise, n, axis=0), (1600, 1200), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / f'{n}.jpg'), large)
    best, *_ = advice_on(ImageFolder(str(tmp_path), pipeline=[dict(type='LoadImage'), *views()]))
    assert '--short-side 320' in best.change
    assert 'short sides are 1200 pixels' in best.reason
    assert best.factor > 3


@pytest.mark.slow
def test_colour_in_the_workers_is_to_be_moved(demo_data):
    blur = dict(type='GaussianBlur', sigma=(2.0, 2.0), prob=1.0)
    pipeline = [dict(type='LoadImage'), *views(*[blur] * 100)]
    source = ImageFolder(str(demo_data / 'images/train'), pipeline=pipeline)
    best, *_ = advice_on(source)
    assert 'on_device=True' in best.change
    assert best.factor > 1.5


def test_what_is_fast_already_gets_no_advice_to_pack(demo_data):
    pipeline = [dict(type='LoadImage'), *views()]
    source = ImageFolder(str(demo_data / 'images/train'), pipeline=pipeline)
    assert advice_on(source) == []
