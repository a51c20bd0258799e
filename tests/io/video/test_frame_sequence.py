# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Videos that are stored as images."""

import io

import pytest
from PIL import Image

from vicmae.errors import DataError
from vicmae.io.video import FrameSequence, open_video


def encoded(number, size=(16, 12)):
    file = io.BytesIO()
    Image.new('RGB', size, (10 * number, 0, 0)).save(file, 'PNG')
    return file.getvalue()


@pytest.fixture
def asked():
    """Numbers of the frames that were read."""
    return []


@pytest.fixture
def video(asked):
    def read(number):
        asked.append(number)
        return encoded(number)

    return FrameSequence(read, 20, 5.0, 'clip')


def test_frames_come_in_the_requested_order_and_are_read_once(video, asked):
    frames = video.frames([7, 3, 7, 0])
    assert [frame[0, 0, 0] for frame in frames] == [70, 30, 70, 0]
    assert {frame.shape for frame in frames} == {(12, 16, 3)}
    assert asked == [0, 3, 7]


def test_size_is_known_without_decoding_and_opening_reads_nothing(video, asked):
    assert (video.num_frames, video.fps, asked) == (20, 5.0, [])
    assert (video.height, video.width, asked) == (12, 16, [0])


def test_time_selects_the_frame_shown_at_that_time(video):
    times = [0.0, 0.19, 0.2, 0.6, 3 * 0.2, 3.99, 9.0, -1.0]
    assert video.ids_at(times) == [0, 0, 1, 3, 3, 19, 19, 0]
    assert [frame[0, 0, 0] for frame in video.frames_at([0.45])] == [20]


def test_frame_sequence_of_paths_is_an_open_reader(tmp_path):
    paths = []
    for number in range(3):
        paths.append(str(tmp_path / f'{number}.png'))
        (tmp_path / f'{number}.png').write_bytes(encoded(number))
    video = FrameSequence(paths, 3, 25, 'clip')
    assert open_video(video, 'decord') is video
    with video as entered:
        assert [frame[0, 0, 0] for frame in entered.frames([2, 1])] == [20, 10]


def test_damaged_frame_is_named(tmp_path):
    video = FrameSequence([encoded(0), b'nothing'], 2, 25, 'clip')
    with pytest.raises(DataError, match='clip, frame 1'):
        video.frames([0, 1])
    video = FrameSequence([str(tmp_path / 'gone.jpg')], 1, 25, 'clip')
    with pytest.raises(DataError, match=r'gone\.jpg'):
        video.frames([0])


@pytest.mark.parametrize('number', [20, -1])
def test_frame_that_does_not_exist_is_an_error(video, number):
    with pytest.raises(
        DataError, match=f"'clip' has 20 frames, numbered from 0, got frame {number}"
    ):
        video.frames([3, number])


def test_invalid_frame_sequence_is_refused():
    with pytest.raises(DataError, match="'clip' has no frames"):
        FrameSequence([], 0, 25, 'clip')
    with pytest.raises(ValueError, match='`fps` must be a positive number, got 0'):
        FrameSequence([b''], 1, 0, 'clip')
