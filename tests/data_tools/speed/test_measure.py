# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The verdict names the slow stage, and its figures add up."""

import json
import re
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
from torch.utils.data import default_collate

from vicmae.data_tools.speed.measure import SourceSpeed
from vicmae.data_tools.speed.stages import Stages, measure_stages
from vicmae.datasets import ImageFolder, SampleKey, VideoFolder

SECONDS = dict.fromkeys(
    ['find', 'open', 'seek', 'decode', 'crop and flip', 'colour', 'pack', 'collate'], 0.001
)


def stages(key_interval=None, short_side=None, num_files=20, **slow):
    seconds = {**SECONDS, **slow}
    decoded = key_interval and key_interval / 2
    return Stages(
        seconds,
        seconds['decode'],
        2,
        decoded,
        key_interval,
        short_side,
        num_files,
        1_250_000,
        301_056,
    )


def speed(rate=50.0, num_workers=2, **options):
    return SourceSpeed('videos', 1200, rate, num_workers, stages(**options))


@pytest.mark.parametrize(
    ('slow', 'reason', 'change', 'factor'),
    [
        (dict(colour=0.03), "colour takes 75% of a worker's time", 'on_device=True', 4.0),
        (dict(decode=0.03, short_side=640), 'short sides are 640 pixels', '--short-side 320', 2.3),
        (dict(seek=0.03, key_interval=240), 'seeking takes 75%', '--video-as jpeg --fps 5', 4.0),
        (dict(open=0.03, key_interval=12), 'opening and seeking take', 'visits_per_opening=4', 2.5),
    ],
)
def test_slowest_stage_is_named_with_advice(slow, reason, change, factor):
    measured = speed(**slow)
    best = measured.advice()[0]
    assert reason in best.reason
    assert change in best.change
    assert best.factor == pytest.approx(factor, abs=0.1)
    assert f'What would help most: {best.reason}: {best.change}, about' in measured.text([500])


def views(*changes):
    crop = dict(type='RandomResizedCrop', size=32)
    return [dict(type='TwoViews', transforms=[crop, *changes]), dict(type='PackViews')]


def measured(source):
    keys = [SampleKey(0, 0, index, visit) for visit in range(2) for index in range(len(source))]
    return SourceSpeed(
        'source', len(source), 1e9, 1, measure_stages(source, keys, default_collate, 60)
    )


def test_advice_shrinks_large_images_only(tmp_path, demo_data):
    noise = np.random.default_rng(0).integers(256, size=(60, 80, 3), dtype=np.uint8)
    for n in range(8):
        large = cv2.resize(np.roll(noise, n, axis=0), (1600, 1200), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / f'{n}.jpg'), large)
    pipeline = [dict(type='LoadImage'), *views()]
    best, *_ = measured(ImageFolder(str(tmp_path), pipeline=pipeline)).advice()
    assert '--short-side 320' in best.change and 'short sides are 1200 pixels' in best.reason
    assert best.factor > 2
    small = measured(ImageFolder(str(demo_data / 'images/train'), pipeline=pipeline))
    assert 'pack' not in ' '.join(map(str, small.advice()))


def test_advice_packs_videos_with_few_key_frames(tmp_path):
    scene = np.random.default_rng(0).integers(256, size=(20, 60, 3), dtype=np.uint8)
    scene = cv2.resize(scene, (960, 192), interpolation=cv2.INTER_CUBIC)
    for n in range(8):
        with av.open(str(tmp_path / f'{n}.mp4'), 'w') as container:
            stream = container.add_stream('libx264', rate=25)
            stream.width, stream.height, stream.pix_fmt = 256, 192, 'yuv420p'
            stream.options = {'preset': 'veryfast', 'x264-params': 'keyint=999:scenecut=0'}
            for left in range(0, 480, 4):
                pixels = np.ascontiguousarray(scene[:, left : left + 256])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
            container.mux(stream.encode())
    pairs = [dict(type='OpenVideo'), dict(type='DistantFramePair'), dict(type='DecodeFrames')]
    found = measured(VideoFolder(str(tmp_path), pipeline=[*pairs, *views()])).advice()
    assert 'pack.py' in found[0].change and found[0].factor > 2
    assert 'key frames lie 120 frames apart' in ' '.join(advice.reason for advice in found)
    assert '--gop 12' in ' '.join(advice.change for advice in found)


def test_advice_does_not_pack_frequent_key_frames_again():
    changes = [advice.change for advice in speed(seek=0.03, key_interval=240).advice()]
    assert len(changes) == 3 and '--gop 12 --tune fastdecode' in changes[1]
    again = ' '.join(advice.change for advice in speed(seek=0.03, key_interval=12).advice())
    assert '--gop' not in again


def test_advice_does_not_repeat_shared_openings():
    measured = speed(open=0.03, key_interval=12)
    assert len(measured.advice()) == 1
    assert replace(measured, visits_per_opening=4).advice() == []


@pytest.mark.parametrize(
    ('rate', 'num_files', 'words'),
    [
        (250, 20, 'more workers; nothing in the files'),
        (20, 20, 'cores, as most of the time'),
        (20, 3, 'unknown: 3 files say too little (8 are needed)'),
    ],
)
def test_text_without_advice_distinguishes_waiting_from_work(rate, num_files, words):
    assert f'What would help most: {words}' in speed(rate, num_files=num_files).text([500])


def test_text_has_the_numbers():
    text = speed(seek=0.02, key_interval=250).text([500, 90])
    assert text.startswith('videos (1,200): 50 samples/s, 25 per worker; a worker takes 40.00 ms:')
    for line in (
        '  seek                 20.00 ms   50%  ############\n',
        '  transfer, waiting    13.00 ms   32%  ########\n',
        'would take 1.00 ms. 125 frames are decoded for 2, as key frames lie 250 apart.',
        'A sample reads 1,250.0 kB and hands over 301.1 kB.',
        'Workers for a device that takes 500/s: 20, 90/s: 4 ',
    ):
        assert line in text
    assert 'colour' not in speed(colour=0.0).text([500])  # which takes no time
    assert speed(rate=25, num_workers=0).text([500]).count('in one process') == 1


@pytest.mark.parametrize('rate', [20, 50, 100, 500])
def test_rows_add_up_to_the_total_that_is_printed(rate):
    header, *lines = speed(rate).text([500]).splitlines()
    rows = [float(ms) for ms in re.findall(r'^  \D+([\d.]+) ms +\d+%', '\n'.join(lines), re.M)]
    assert sum(rows) == pytest.approx(float(re.search(r'([\d.]+) ms', header)[1]), abs=0.05)


def test_values_survive_json():
    read = json.loads(json.dumps(speed(colour=0.03).as_dict()))
    assert sum(read['milliseconds'].values()) == pytest.approx(1e3 / 25)
    assert read['samples_per_second_per_worker'] == 25
    assert read['advice'][0]['factor'] > 3
