# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""One file: read to its end, or as far as it goes."""

import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vicmae.data_tools.checking import file_check
from vicmae.data_tools.checking.file_check import DecodableFrames, FileCheck, Verdict
from vicmae.errors import DataError
from vicmae.utils.isolated_pool import run_isolated

from ..toy_video import ToyVideo


def count(video):
    found = DecodableFrames(video)
    found.attempt_all()
    return found.count


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    """A video of 40 frames, 48 wide and 32 high."""
    path = str(tmp_path_factory.mktemp('clip') / 'a.mp4')
    with av.open(path, 'w') as container:
        stream = container.add_stream('mpeg4', 10)
        stream.width, stream.height = 48, 32
        for value in range(40):
            frame = np.full((32, 48, 3), 5 * value, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize('num_frames', [1, 31, 32, 33, 100])
def test_all_frames_are_decoded_once(num_frames):
    video = ToyVideo(num_frames)
    assert count(video) == num_frames
    assert [number for ids in video.asked for number in ids] == list(range(num_frames))


@pytest.mark.parametrize(
    'bad',
    [[0], [99], [31, 32], range(10, 60), range(0, 100, 2), range(64), [*range(32), *range(40, 64)]],
)
def test_frames_that_can_be_decoded_are_counted_wherever_the_others_are(bad):
    assert count(ToyVideo(100, bad)) == 100 - len(bad)


def test_missing_end_of_a_long_video_is_not_tried_frame_by_frame():
    video = ToyVideo(32_000, bad=range(15_000, 32_000))
    assert count(video) == 15_000
    assert len(video.asked) < 32_000 / 32 + 3 * 32


def test_large_frames_are_decoded_few_at_a_time():
    for side, most in [(4000, 1), (2000, 5), (100, 32)]:
        video = ToyVideo(100, height=side, width=side)
        assert count(video) == 100
        assert max(map(len, video.asked)) == most


class Slow(ToyVideo):
    """Takes its time for each call."""

    def frames(self, ids):
        time.sleep(0.2)
        return super().frames(ids)


def count_slowly(num_frames):
    return count(Slow(num_frames))


def test_long_video_has_no_time_limit_while_it_progresses():
    (outcome,) = run_isolated(count_slowly, [200], num_workers=1, seconds=0.8)
    assert (outcome.value, outcome.error) == (200, None)


def test_video_without_frames_that_can_be_decoded_is_an_error():
    found = DecodableFrames(ToyVideo(3, bad=range(3)))
    found.attempt_all()
    with pytest.raises(
        DataError, match=r"None of the 3 frames of the video 'a'.*decode frames \[0"
    ):
        found.require_size('a')


@pytest.mark.parametrize('quick', [False, True])
def test_good_video_has_its_frames_and_its_size(clip, quick):
    assert FileCheck(quick=quick)(clip) == Verdict(clip, 'video', True, 40, 48, 32, None)


def test_video_of_which_a_part_cannot_be_decoded_is_ok_with_a_note(monkeypatch):
    monkeypatch.setattr(
        file_check, 'open_video', lambda path: ToyVideo(50, bad=range(29, 50), height=4, width=6)
    )
    assert FileCheck()('a.mp4') == Verdict(
        'a.mp4', 'video', True, 29, 6, 4, note='29 of 50 frames can be decoded'
    )
    quick = FileCheck(quick=True)('a.mp4')
    assert (quick.frames, quick.note) == (50, '2 of 3 frames that were tried can be decoded')


def test_good_image_has_its_upright_size(tmp_path):
    path, exif = str(tmp_path / 'a.jpg'), Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (30, 20)).save(path, exif=exif)
    assert FileCheck()(path) == Verdict(path, 'image', True, 1, 20, 30, None)


@pytest.mark.parametrize('extension', ['.jpg', '.mp4'])
def test_bad_file_says_why(tmp_path, extension):
    path = tmp_path / f'a{extension}'
    path.write_bytes(b'<html>')
    kind = 'image' if extension == '.jpg' else 'video'
    verdict = FileCheck()(str(path))
    assert verdict[:6] == (str(path), kind, False, None, None, None)
    assert str(path) in verdict.error


def test_file_of_unknown_extension_is_what_it_can_be_read_as(clip, tmp_path):
    movie, picture, neither = (tmp_path / name for name in ('movie.dat', 'picture', 'text.dat'))
    movie.write_bytes(Path(clip).read_bytes())
    Image.new('RGB', (3, 2)).save(picture, 'PNG')
    neither.write_text('text')
    check = FileCheck()
    assert check(str(movie)) == Verdict(str(movie), 'video', True, 40, 48, 32, None)
    assert check(str(picture)) == Verdict(str(picture), 'image', True, 1, 3, 2, None)
    verdict = check(str(neither))
    assert not verdict.ok and 'the image' in verdict.error and 'the video' in verdict.error


def test_kind_that_is_given_counts_more_than_the_extension(tmp_path):
    frames = [Image.new('RGB', (16, 16), colour) for colour in ('red', 'blue', 'green')]
    path = str(tmp_path / 'a.gif')
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert FileCheck()(path)[1:4] == ('image', True, 1)
    assert FileCheck('video')(path).kind == 'video'
