# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Frames of a video by number, against a decoder that goes through it from the beginning."""

from pathlib import Path

import av
import numpy as np
import pytest

from vicmae.datasets.video_io import open_video
from vicmae.errors import DataError


@pytest.fixture(scope='module')
def video(demo_data):
    return str(sorted((demo_data / 'videos/train').rglob('*.mp4'))[0])


@pytest.fixture(scope='module')
def sequence(video):
    """All frames, one after the other."""
    with av.open(video) as container:
        return [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]


def test_reader_knows_number_of_frames_and_rate(video, sequence):
    reader = open_video(video)
    assert reader.num_frames == len(sequence)
    with av.open(video) as container:
        assert reader.fps == pytest.approx(float(container.streams.video[0].average_rate))


@pytest.mark.parametrize('ids', [[0], [40, 3], [5, 5], [-1, 30]])
def test_frames_by_number_are_those_of_a_decode_in_sequence(video, sequence, ids):
    ids = [i % len(sequence) for i in ids]
    frames = open_video(video).frames(ids)
    assert len(frames) == len(ids)
    for i, frame in zip(ids, frames, strict=True):
        # Two conversions from YUV differ by their rounding; another frame differs by far more.
        assert np.abs(frame.astype(int) - sequence[i]).mean() < 2
        other = sequence[(i + len(sequence) // 2) % len(sequence)]
        assert np.abs(frame.astype(int) - other).mean() > 4


def test_frame_beyond_the_end_is_an_error_with_the_path(video, sequence):
    with pytest.raises(
        DataError, match=f"Can't decode frames .* of the video '{video}', which says"
    ) as caught:
        open_video(video).frames([len(sequence) + 5])
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('content', [b'', b'<html>404</html>'])
def test_damaged_video_is_named_in_one_line(tmp_path, content):
    path = tmp_path / 'a.mp4'
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"Can't open the video '{path}': .") as caught:
        open_video(str(path))
    assert '\n' not in str(caught.value)


def test_reason_leaves_out_where_in_its_source_the_decoder_failed(tmp_path, video):
    path = tmp_path / 'cut.mp4'
    content = bytearray(Path(video).read_bytes())
    middle = content.index(b'mdat') + 2000
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    reader = open_video(str(path))
    with pytest.raises(DataError, match="Can't decode frames .*: Check failed") as caught:
        reader.frames(range(reader.num_frames))
    assert '.cc:' not in str(caught.value)


def test_missing_video_is_named(tmp_path):
    with pytest.raises(DataError, match="There is no video '.*no.mp4'"):
        open_video(str(tmp_path / 'no.mp4'))
