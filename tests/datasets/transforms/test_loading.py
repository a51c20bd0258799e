# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reading of frames from files. `tests/io/test_image.py` tests unusual images."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vicmae.datasets import DecodeFrames, LoadImage, OpenVideo
from vicmae.errors import DataError
from vicmae.io.image import EncodedImage
from vicmae.io.video import VideoReader

ODD = Path(__file__).parents[3] / '../shared/data/odd_files'
LARGE = ('phone', 'mvhevc', 'long_av1')  # seconds each


@pytest.fixture
def picture(tmp_path):
    """Writes an image, and returns its path and its pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    return str(tmp_path / 'a.png'), pixels


def odd_videos():
    if not ODD.is_dir():
        skip = pytest.mark.skip(reason=f'needs the odd files in {ODD.name}, which are optional')
        return [pytest.param({}, marks=skip, id='none')]
    rows = csv.DictReader((ODD / 'MANIFEST.csv').read_text(encoding='utf-8').splitlines())
    return [
        pytest.param(row, id=Path(row['file']).name)
        for row in rows
        if row['read_as'] == 'video' and not any(word in row['file'] for word in LARGE)
    ]


def test_image_is_read_as_rgb(picture):
    path, pixels = picture
    (frame,) = LoadImage()(dict(path=path))['frames']
    assert frame.dtype == np.uint8
    assert np.array_equal(frame, pixels)


def test_image_is_read_from_memory_if_given(picture):
    path, pixels = picture
    sample = dict(path='shard.tar/a.png', media=Path(path).read_bytes())
    assert np.array_equal(LoadImage()(sample)['frames'][0], pixels)


def test_lazy_image_is_not_decoded_yet(picture):
    path, pixels = picture
    (frame,) = LoadImage(lazy=True)(dict(path=path))['frames']
    assert isinstance(frame, EncodedImage) and (frame.height, frame.width) == (4, 6)
    assert np.array_equal(frame.decode(), pixels)


def test_visits_to_an_image_share_only_its_pixels(picture):
    visits = [dict(path=picture[0], number=number) for number in range(3)]
    loaded = LoadImage().transform_together(visits)
    assert [visit['number'] for visit in loaded] == [0, 1, 2]
    assert all(visit['frames'][0] is loaded[0]['frames'][0] for visit in loaded)
    assert all('frames' not in visit for visit in visits)


@pytest.mark.parametrize('lazy', [False, True])
@pytest.mark.parametrize('content', [b'', b'<html>404</html>', b'\xff\xd8\xff\xe0', None])
def test_bad_image_is_named(tmp_path, content, lazy):
    path = tmp_path / 'a.jpg'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"Can't read the image '{path}': ."):
        LoadImage(lazy=lazy)(dict(path=str(path)))


def test_bad_image_in_memory_is_named_by_its_path():
    with pytest.raises(DataError, match="Can't read the image 'shard.tar/a.png': it is empty"):
        LoadImage()(dict(path='shard.tar/a.png', media=b''))


class Toy(VideoReader):
    """A video whose frames show their number, and that records the requested frames."""

    name, num_frames, fps = 'toy', 90, 30.0
    height = width = 2

    def __init__(self):
        self.asked = []
        self.closed = False

    def frames(self, ids):
        self.asked += ids
        return [np.full((2, 2, 3), number, np.uint8) for number in ids]

    def ids_at(self, seconds):
        raise NotImplementedError  # frames are asked for by number here, never by time

    def close(self):
        self.closed = True


def test_opened_video_has_its_length_and_decoding_closes_it(demo_data):
    path = sorted((demo_data / 'videos/train').rglob('*.mp4'))[0]
    opened = OpenVideo()(dict(path=str(path)))
    assert opened['num_frames'] > opened['fps'] > 5  # more than a second
    decoded = DecodeFrames()({**opened, 'frame_ids': [0, 7]})
    assert 'reader' not in decoded
    assert [frame.dtype for frame in decoded['frames']] == [np.uint8, np.uint8]


def test_frames_are_decoded_once_sorted_by_time_for_all_visits():
    video = Toy()
    visits = OpenVideo().transform_together([dict(path='a', media=video) for _ in range(3)])
    wanted = [[40, 7], [7, 7], [0, 40]]
    visits = [dict(visit, frame_ids=ids) for visit, ids in zip(visits, wanted, strict=True)]
    decoded = DecodeFrames().transform_together(visits)
    assert [[frame[0, 0, 0] for frame in visit['frames']] for visit in decoded] == wanted
    assert video.asked == [0, 7, 40]
    assert video.closed


def test_unknown_reader_is_refused_at_construction():
    with pytest.raises(ValueError, match="`reader` must be one of auto, .*, got 'decrod'"):
        OpenVideo(reader='decrod')


def test_video_is_closed_if_a_frame_cannot_be_decoded():
    class Broken(Toy):
        def frames(self, ids):
            raise DataError("Can't decode.")

    video = Broken()
    visit = OpenVideo()(dict(path='a', media=video))
    with pytest.raises(DataError, match="Can't decode"):
        DecodeFrames()({**visit, 'frame_ids': [0]})
    assert video.closed


@pytest.mark.parametrize('row', odd_videos())
def test_unusual_video_is_read_or_refused_in_one_line(row):
    path = str(ODD / row['file'])
    if row['expected'] == 'error':
        with pytest.raises(DataError, match=re.escape(path)) as caught:
            first_frame(path)
        assert '\n' not in str(caught.value)
    else:
        assert first_frame(path).shape[2] == 3


def first_frame(path):
    opened = OpenVideo()(dict(path=path))
    assert opened['fps'] > 0
    return DecodeFrames()({**opened, 'frame_ids': [0]})['frames'][0]
