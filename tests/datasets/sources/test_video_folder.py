# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A frame gap that is longer than any video of a folder."""

import re

import av
import numpy as np
import pytest

from vicmae.datasets import FixedGapFramePair, OpenVideo, SampleKey, VideoFolder
from vicmae.errors import DataError
from vicmae.io.video import open_video


def write_clip(path, num_frames, fps=12):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=fps)
        stream.width = stream.height = 16
        stream.pix_fmt = 'yuv420p'
        for value in range(num_frames):
            pixels = np.full((16, 16, 3), 10 * value, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        container.mux(stream.encode())


def with_gap(root, *args, **sampler):
    steps = [dict(type='OpenVideo'), dict(type='FixedGapFramePair', **sampler)]
    return VideoFolder(str(root), *args, pipeline=steps)


@pytest.fixture
def videos(demo_data):
    """A folder whose videos are all equally long: their number, frames, and frames per second."""
    root = demo_data / 'videos/train'
    readers = [open_video(str(path)) for path in sorted(root.rglob('*.mp4'))]
    ((num_frames, fps),) = {(reader.num_frames, reader.fps) for reader in readers}
    return root, len(readers), num_frames, fps


def test_longest_gap_that_fits_is_accepted(videos):
    root, _, num_frames, fps = videos
    for options in (dict(gap=num_frames - 1), dict(gap=(num_frames - 1) / fps, unit='second')):
        ids = with_gap(root, **options)[SampleKey(0, 0, 0)]['frame_ids']
        assert ids == [0, num_frames - 1]


def test_gap_longer_than_any_video_is_refused_with_the_longest(videos):
    root, count, num_frames, _ = videos
    with pytest.raises(
        DataError,
        match=rf"FixedGapFramePair\(gap={num_frames}, unit='frame'\) is longer than any video: "
        rf"none of {count} videos fits\. The longest, '{re.escape(str(root))}/.*\.mp4', has "
        rf'{num_frames} frames and would need {num_frames + 1}\. Lower `gap`, or use DistantFrame',
    ):
        with_gap(root, gap=num_frames)


def test_built_sampler_is_checked_as_a_configured_one(videos):
    root, *_ = videos
    with pytest.raises(DataError, match=r'gap=999, .* is longer than any video'):
        VideoFolder(str(root), pipeline=[OpenVideo(), FixedGapFramePair(999)])


def test_one_video_that_is_long_enough_is_sufficient(tmp_path):
    for index, num_frames in enumerate([2, 3, 9, 4]):
        write_clip(tmp_path / f'{index}.mp4', num_frames)
    assert len(with_gap(tmp_path, gap=8)) == 4
    with pytest.raises(DataError, match=r"of 4 videos fits\. .*/2\.mp4', has 9 frames and would"):
        with_gap(tmp_path, gap=9)


def test_longest_video_for_a_gap_in_seconds_is_measured_in_time(tmp_path):
    write_clip(tmp_path / 'fast.mp4', num_frames=10, fps=30)
    write_clip(tmp_path / 'slow.mp4', num_frames=8, fps=10)
    with pytest.raises(DataError, match=r"slow\.mp4', has 8 frames and would need 11\."):
        with_gap(tmp_path, gap=1, unit='second')


def test_videos_that_do_not_open_are_skipped(tmp_path):
    for name in 'abcdefgh':
        (tmp_path / f'{name}.mp4').write_bytes(b'<html>404</html>')
    assert len(with_gap(tmp_path, gap=2)) == 8  # nothing is known of them
    write_clip(tmp_path / 'i.mp4', num_frames=3)
    assert len(with_gap(tmp_path, gap=2)) == 9
    with pytest.raises(DataError, match=r"none of 1 videos fits\. The longest, '.*/i\.mp4'"):
        with_gap(tmp_path, gap=3)


def test_two_hundred_videos_are_tried_at_most(tmp_path):
    write_clip(tmp_path / 'a.mp4', num_frames=2)
    for count, words in [(200, '200 videos fits'), (201, '200 videos tried fits')]:
        (tmp_path / 'list.txt').write_text('a.mp4\n' * count)
        with pytest.raises(DataError, match=f'none of {words}'):
            with_gap(tmp_path, 'list.txt', gap=2)


def test_window_longer_than_any_video_is_accepted(tmp_path):
    write_clip(tmp_path / 'a.mp4', num_frames=2)
    steps = [dict(type='OpenVideo'), dict(type='DistantFramePair', window_seconds=999)]
    sample = VideoFolder(str(tmp_path), pipeline=steps)[SampleKey(0, 0, 0)]
    assert sample['frame_ids'] == [0, 1]
