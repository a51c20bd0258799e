# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Readers return correct frames of truncated or damaged files, or an error, but never fewer frames."""

import re
import subprocess
from contextlib import suppress

import av
import numpy as np
import pytest

from vicmae.errors import DataError
from vicmae.io.video import open_video

from .kinds import one_reader_fast

pytestmark = pytest.mark.needs('ffmpeg')

REMUXED = {
    'front.mp4': '-movflags +faststart',
    'end.mp4': '',
    'fragments.mp4': '-movflags +frag_keyframe+empty_moov',
    'a.mkv': '',
    'a.ts': '',
    'a.flv': '',
}


@pytest.fixture(scope='module')
def whole(made, tmp_path_factory):
    """One video in several containers."""
    folder = tmp_path_factory.mktemp('whole')
    for name, arguments in REMUXED.items():
        command = f'ffmpeg -v error -i {made}/h264.mp4 -c copy {arguments} {name}'
        subprocess.run(command.split(), cwd=folder, check=True)
    return folder


@pytest.mark.parametrize('share', [0.3, 0.8])
@one_reader_fast('name', REMUXED)
def test_truncated_file_has_its_complete_frames(
    whole, made, reference_of, tmp_path, reader, name, share
):
    content = (whole / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(share * len(content))])
    reference = reference_of(made / 'h264.mp4')
    given, num_frames = {}, 0
    with suppress(DataError), open_video(str(path), reader) as video:
        num_frames = video.num_frames
        for i in range(num_frames):
            with suppress(DataError):
                (given[i],) = video.frames([i])
    numbers = [reference.number_of(frame) for frame in given.values()]
    if reader in ('auto', 'pyav') and name != 'end.mp4':  # which has its index at its end
        assert 0.8 * share * 50 - 4 < num_frames < 50
        # Not every container tells that the last frame is cut; others are shown after it, but stored before.
        assert len(given) >= num_frames - 4
        assert numbers[: num_frames - 4] == list(range(num_frames - 4))
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize('name', ['h264.mp4', 'mpeg4_b.mp4', 'open_gop.mp4'])
def test_damage_costs_the_frames_up_to_the_next_key_frame(made, reference_of, tmp_path, name):
    reference = reference_of(made / name)
    content = (made / name).read_bytes()
    with av.open(str(made / name)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    path = tmp_path / name
    # In the order of decoding; key frames are shown as numbers 0, 12, 24, 36, 48.
    for first in (14, 17, 30):
        begin, end = packets[first].pos + 20, packets[first + 1].pos + packets[first + 1].size
        path.write_bytes(content[:begin] + bytes(end - begin) + content[end:])
        given, messages = {}, []
        with open_video(str(path), 'pyav') as video:
            assert video.num_frames == 50
            for i in range(50):
                try:
                    (given[i],) = video.frames([i])
                except DataError as error:
                    messages.append(str(error))
        beginning = rf"Can't decode frames \[\d+\] of 50 of the video '{path}'. pyav: decoded 0 of 1 frames, without"
        assert all(re.match(beginning, message) for message in messages)
        assert [reference.number_of(frame) for frame in given.values()] == list(given)
        lost = set(range(50)) - set(given)
        assert lost
        # Where the group of pictures is open, those shown just before the next key frame need it too.
        assert lost <= set(range(10 + first // 12 * 12 - 12, first // 12 * 12 + 12))


def test_damaged_frames_are_not_read_by_another_reader(made):
    content = bytearray((made / 'h264.mp4').read_bytes())
    with av.open(str(made / 'h264.mp4')) as container:
        packet = [p for p in container.demux(video=0) if p.size][15]
    # decord and torchcodec show what the decoder makes of it.
    content[packet.pos + packet.size // 2 : packet.pos + packet.size] = bytes(packet.size // 2)
    with open_video(bytes(content), name='holed.mp4') as video:
        assert len(video.frames([0, 11, 24, 49])) == 4
        with pytest.raises(
            DataError, match="of the video 'holed.mp4'. pyav: decoded .* frames, without"
        ) as caught:
            video.frames(range(50))
        assert len(video.frames([0, 11, 24, 49])) == 4
    assert '\n' not in str(caught.value)


def test_frames_that_refer_to_a_damaged_one_are_refused(made, reference_of):
    content = (made / 'h264.mp4').read_bytes()
    reference = reference_of(made / 'h264.mp4').frames
    with open_video(content, name='whole.mp4') as video:
        times = video._index.times.tolist()
    with av.open(str(made / 'h264.mp4')) as container:
        packets = [(p.pos, p.size, times.index(p.pts)) for p in container.demux(video=0) if p.size]
    given = 0
    for position, size, damaged in packets[3::3]:
        begin, end = position + size * 2 // 3, position + size
        source = content[:begin] + bytes(end - begin) + content[end:]
        with open_video(source, 'pyav', name='holed.mp4') as video:
            for i in range(max(damaged - 3, 0), damaged):
                with suppress(DataError):
                    (frame,) = video.frames([i])
                    given += 1
                    assert np.abs(frame.astype(int) - reference[i]).mean() < 3, (damaged, i)
    assert given > 15


@pytest.mark.parametrize('content', [b'', b'<html>404</html>', bytes(5000)])
def test_file_that_is_not_a_video_is_an_error_of_one_line(tmp_path, content):
    path = tmp_path / 'a.mp4'
    path.write_bytes(content)
    for source, name in ((str(path), None), (content, str(path))):
        with pytest.raises(DataError, match=f"Can't open the video '{path}': .") as caught:
            open_video(source, name=name)
        assert '\n' not in str(caught.value)
