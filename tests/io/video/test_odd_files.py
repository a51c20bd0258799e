# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Unusual real files: each reader returns their frames, or an error."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vicmae.errors import DataError
from vicmae.io.video import open_video

FOLDER = Path(__file__).parents[3] / '../shared/data/odd_files'
MANIFEST = FOLDER / 'MANIFEST.csv'

# What is no video but names others, and what FFmpeg would draw.
LISTS = {
    'concat.mp4': 'ffconcat version 1.0\nfile real.mp4\n',
    'hls.mp4': '#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nreal.mp4\n#EXT-X-ENDLIST\n',
    'hls.m3u8': '#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nreal.mp4\n#EXT-X-ENDLIST\n',
    'tty.nfo': 'some text\n' * 50,
}

# Rows of the manifest that are no videos, or were looked at another way: it counted another stream.
OTHER_STREAM = ('video/h264_many_streams.mp4',)


def videos():
    if not MANIFEST.is_file():
        return []
    with MANIFEST.open(newline='') as file:
        rows = [row for row in csv.DictReader(file) if row['read_as'] == 'video']
    return [pytest.param(row, id=row['file'].removeprefix('video/')) for row in rows]


@pytest.mark.skipif(not MANIFEST.is_file(), reason='the odd files are not there')
@pytest.mark.parametrize('which', ['pyav', pytest.param('others', marks=pytest.mark.slow)])
@pytest.mark.parametrize('row', videos())
def test_unusual_video_is_read_correctly_or_refused(row, which, at_hand):
    path = str(FOLDER / row['file'])
    readers = [name for name in at_hand[0] if (name == 'pyav') == (which == 'pyav')]
    assert readers
    if row['expected'] == 'error':
        for reader in readers:
            with pytest.raises(DataError, match=r'\.$'), open_video(path, reader) as video:
                video.frames([0])
        return
    with open_video(path, 'pyav') as video:
        num_frames = video.num_frames
        count = int(re.search(r'(\d+) frames', row['observed_with_pyav_18_pillow_13'])[1])
        damaged = int(row['expected'] != 'readable')
        if row['file'] not in OTHER_STREAM:
            assert num_frames in (count, count + damaged)
        # Behind what is damaged there may be no more.
        ids = [0, 1 % num_frames] if damaged else [0, num_frames // 2, num_frames - 1]
        expected = video.frames(ids)
        assert {frame.shape for frame in expected} == {(video.height, video.width, 3)}
        assert {frame.dtype for frame in expected} == {np.dtype('uint8')}
    for reader in readers:
        asked = ids[:1] if reader == 'auto' else ids[:2]  # the former is one of the others
        refused = False
        try:
            with open_video(path, reader) as video:
                assert video.num_frames == num_frames
                frames = video.frames(asked)
        except DataError:
            refused = True
        assert not refused or reader in ('decord', 'torchcodec')
        for frame, i in zip([] if refused else frames, asked, strict=False):
            # More than 8 bits are rounded, and chroma enlarged, in different ways.
            assert np.abs(frame.astype(int) - expected[ids.index(i)]).mean() < 5


@pytest.mark.parametrize('name', LISTS)
def test_text_is_not_read_as_the_videos_that_it_names(demo_data, tmp_path, name):
    real = sorted((demo_data / 'videos/train').rglob('*.mp4'))[0]
    (tmp_path / 'real.mp4').write_bytes(real.read_bytes())
    (tmp_path / name).write_text(LISTS[name])
    reason = 'its format concat is a list of files or a text, not a video' * (name == 'concat.mp4')
    with pytest.raises(DataError, match=f"Can't open the video '{tmp_path / name}': {reason}."):
        open_video(str(tmp_path / name))


def test_image_is_not_read_as_a_pattern_of_file_names(tmp_path):
    for number in range(3):
        Image.new('RGB', (8, 8)).save(tmp_path / f'{number}.jpg')
        Image.new('RGB', (8, 8)).save(tmp_path / 'frame%d.jpg')
        Image.new('RGB', (8, 8)).save(tmp_path / f'frame{number}.jpg')
    with pytest.raises(DataError, match='its format image2 is'):
        open_video(str(tmp_path / 'frame%d.jpg'))
