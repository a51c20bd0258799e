# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""From files to frames, odd files included."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vicmae.datasets import DecodeFrames, LoadImage, OpenVideo
from vicmae.errors import DataError

ODD = Path(__file__).parents[3] / '../shared/data/odd_files'
# Readable in principle; decord reads neither AV1 nor animated pictures, and stumbles over these.
NOT_DECORD = ('av1', 'as_video', 'theora', 'tiny_8x8', 'edit_list', 'corrupted', 'truncated')
LARGE = ('phone', 'mvhevc', 'landscape')  # seconds each


def picture(mode='RGB', size=(6, 4)):
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def load(path):
    (frame,) = LoadImage()(dict(path=str(path)))['frames']
    return frame


def odd_files(kind):
    if not ODD.is_dir():
        skip = pytest.mark.skip(reason=f'needs the odd files in {ODD.name}, which are optional')
        return [pytest.param({}, marks=skip, id='none')]
    rows = csv.DictReader((ODD / 'MANIFEST.csv').read_text(encoding='utf-8').splitlines())
    return [
        pytest.param(row, id=Path(row['file']).name)
        for row in rows
        if row['read_as'] == kind and not any(word in row['file'] for word in LARGE)
    ]


# ------------------------------------------------------------------------- images
def test_image_is_read_as_rgb(tmp_path):
    picture().save(tmp_path / 'a.png')
    frame = load(tmp_path / 'a.png')
    assert frame.dtype == np.uint8
    assert np.array_equal(frame, np.array(picture()))


def test_image_with_an_orientation_is_turned_upright(tmp_path):
    upright, exif = np.array(picture()), Image.Exif()
    exif[0x0112] = 6  # lies on its side: to be turned a quarter clockwise
    picture().transpose(Image.Transpose.ROTATE_90).save(tmp_path / 'a.png', exif=exif)
    assert np.array_equal(load(tmp_path / 'a.png'), upright)


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'LA', '1', 'I;16'])
def test_image_of_any_mode_has_three_channels(tmp_path, mode):
    image = (
        picture('L').point(lambda v: v * 256, 'I').convert('I;16')
        if mode == 'I;16'
        else picture(mode)
    )
    image.save(tmp_path / 'a.png')
    assert load(tmp_path / 'a.png').shape == (4, 6, 3)


def test_gray_image_has_equal_channels(tmp_path):
    picture('L').save(tmp_path / 'a.png')
    frame = load(tmp_path / 'a.png')
    assert np.array_equal(frame, np.repeat(np.array(picture('L'))[..., None], 3, axis=2))


def test_palette_image_has_its_true_colours(tmp_path):
    image = picture('P')
    image.save(tmp_path / 'a.gif')
    assert np.array_equal(load(tmp_path / 'a.gif'), np.array(image.convert('RGB')))


def test_cmyk_image_has_its_true_colours(tmp_path):
    flat = Image.new('RGB', (16, 16), (200, 40, 90))
    flat.convert('CMYK').save(tmp_path / 'a.jpg', quality=95)
    assert np.abs(load(tmp_path / 'a.jpg').astype(int) - (200, 40, 90)).max() <= 4


@pytest.mark.parametrize('content', [b'', b'<html>404</html>', b'\xff\xd8\xff\xe0'])
def test_damaged_image_is_named(tmp_path, content):
    path = tmp_path / 'a.jpg'
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"Can't read the image '{path}': ."):
        load(path)


def test_truncated_image_is_named(tmp_path):
    path = tmp_path / 'a.jpg'
    picture(size=(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match="Can't read the image '.*a.jpg': .*truncated"):
        load(path)


def test_missing_image_is_named(tmp_path):
    with pytest.raises(DataError, match="Can't read the image '.*no.jpg': .*No such file"):
        load(tmp_path / 'no.jpg')


@pytest.mark.filterwarnings('ignore::UserWarning')
@pytest.mark.parametrize('row', odd_files('image'))
def test_odd_image_is_read_or_refused_by_name(row):
    path = str(ODD / row['file'])
    if row['expected'] == 'error':
        with pytest.raises(DataError, match=f"Can't read the image '{path}'"):
            load(path)
    else:
        height, width, channels = load(path).shape
        assert min(height, width) >= 1 and channels == 3


# ------------------------------------------------------------------------- videos
def test_opened_video_says_how_long_it_is_and_decoding_lets_go_of_it(demo_data):
    path = sorted((demo_data / 'videos/train').rglob('*.mp4'))[0]
    opened = OpenVideo()(dict(path=str(path)))
    assert opened['num_frames'] > opened['fps'] > 5  # more than a second
    decoded = DecodeFrames()({**opened, 'frame_ids': [0, 7]})
    assert 'reader' not in decoded
    assert [frame.dtype for frame in decoded['frames']] == [np.uint8, np.uint8]


@pytest.mark.parametrize('row', odd_files('video'))
def test_odd_video_is_read_or_refused_by_name_in_one_line(row):
    path = str(ODD / row['file'])
    try:
        opened = OpenVideo()(dict(path=path))
        ids = [0, opened['num_frames'] // 2]
        frames = DecodeFrames()({**opened, 'frame_ids': ids})['frames']
    except DataError as error:
        message = str(error)
        assert path in message
        assert '\n' not in message
        assert row['expected'] == 'error' or any(word in row['file'] for word in NOT_DECORD)
    else:
        assert row['expected'] != 'error'
        assert opened['fps'] > 0
        assert all(frame.shape[2] == 3 for frame in frames)
