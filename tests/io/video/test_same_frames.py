# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A number or a time selects the same frame in all readers: that of decoding from the beginning."""

import subprocess
from contextlib import suppress

import av
import numpy as np
import pytest

from vicmae.errors import DataError
from vicmae.io.video import open_video
from vicmae.testing import write_clip

from .kinds import MADE, SOURCE, Reference, one_reader_fast

pytestmark = pytest.mark.needs('ffmpeg')

# What decord and torchcodec have to read; of the others they may refuse what they would get wrong.
PLAIN = (
    *('h264.mp4', 'hevc.mp4', 'vp8.webm', 'vp9.webm', 'mpeg4.mp4'),
    *('varying.mp4', 'varying.mkv', 'turned.mp4', 'later.mkv'),
)
NO_TIMES = ('without_times.h264', 'wrong_times.avi')


@one_reader_fast('name', MADE)
def test_frames_by_number_equal_sequential_decoding(made, reference_of, reader, name):
    reference = reference_of(made / name)
    num_frames = len(reference.frames)
    rng = np.random.default_rng(0)
    singles = [[i] for i in rng.permutation(num_frames)[:8].tolist()]
    several = [0, num_frames - 1, *rng.permutation(num_frames)[:12].tolist(), 7, 7]
    refused = True
    with suppress(DataError), open_video(str(made / name), reader) as video:
        assert video.num_frames == num_frames
        assert (video.height, video.width) == reference.frames.shape[1:3]
        for ids in [*singles, several, range(num_frames)]:
            frames = video.frames(ids)
            assert [reference.number_of(frame) for frame in frames] == list(ids)
            assert all(frame.flags.c_contiguous and frame.dtype == np.uint8 for frame in frames)
        refused = False
    assert not refused or (reader in ('decord', 'torchcodec') and name not in PLAIN)


@pytest.mark.parametrize('name', [name for name in MADE if name not in NO_TIMES])
def test_frames_by_time_are_those_shown_at_that_time(made, reference_of, name):
    reference = reference_of(made / name)
    shown = np.array(reference.seconds)
    times = np.random.default_rng(0).uniform(0, shown[-1] + 0.1, size=200)
    times = times[np.abs(times[:, None] - shown).min(axis=1) > 2e-3]  # not where rounding decides
    expected = [int(np.flatnonzero(shown <= time)[-1]) for time in times]
    with open_video(str(made / name)) as video:
        assert video.ids_at(times.tolist()) == expected
        # Where a frame begins is that frame, though neither the file nor a float may have that time exactly.
        assert video.ids_at(shown) == list(range(len(shown)))
        assert video.ids_at([-1.0, 1e6]) == [0, len(shown) - 1]
        (frame,) = video.frames_at([shown[20] + 0.01])
        assert reference.number_of(frame) == 20


def test_rate_is_that_of_the_times(made, reader):
    with open_video(str(made / 'h264.mp4'), reader) as video:
        assert video.fps == pytest.approx(25)
    with open_video(str(made / 'varying.mp4'), reader) as video:
        last = 48 / 25  # the last frame that is left, and what lies between is 37 - 1 frames
        assert video.fps == pytest.approx((video.num_frames - 1) / last)


@pytest.mark.parametrize('mirror', [False, True])
@one_reader_fast('num_quarters', range(4))
def test_metadata_rotates_and_mirrors_as_in_ffmpeg(made, tmp_path, reader, num_quarters, mirror):
    path = tmp_path / 'turned.mp4'
    path.write_bytes(with_matrix((made / 'h264.mp4').read_bytes(), num_quarters, mirror))
    command = f'ffmpeg -v error -i {path} -frames:v 1 -pix_fmt rgb24 -f rawvideo -'
    shown = subprocess.run(command.split(), check=True, capture_output=True).stdout
    expected = np.frombuffer(shown, np.uint8)
    try:
        with open_video(str(path), reader) as video:
            assert (video.height, video.width) == ((64, 96), (96, 64))[num_quarters % 2]
            (frame,) = video.frames([0])
    except DataError:
        assert mirror and reader in ('decord', 'torchcodec')
    else:
        expected = expected.reshape(frame.shape).astype(int)
        assert np.abs(frame - expected).mean() < 3


def with_matrix(mp4, num_quarters, mirror):
    """Writes another display matrix into the header of an mp4's track."""
    turn = np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), num_quarters)
    turn = np.array([[-1, 0], [0, 1]]) @ turn if mirror else turn
    matrix = np.zeros((3, 3), dtype='>i4')
    matrix[:2, :2], matrix[2, 2] = turn * 2**16, 2**30
    start = mp4.index(b'tkhd') + 4 + 40
    return mp4[:start] + matrix.tobytes() + mp4[start + 36 :]


def test_hidden_packets_are_not_frames(tmp_path, reference_of):
    # In two passes, the encoder of VP8 makes frames that only help to decode others.
    encode = (
        f'ffmpeg -v error {SOURCE} -c:v libvpx -g 50 -auto-alt-ref 1 -lag-in-frames 25 -b:v 100k'
    )
    for output in ('-pass 1 -f null -', '-pass 2 hidden.webm'):
        subprocess.run([*encode.split(), *output.split()], cwd=tmp_path, check=True)
    path = tmp_path / 'hidden.webm'
    with av.open(str(path)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) > 50
    with open_video(str(path), 'pyav') as video:
        assert video.num_frames == 50
        numbers = [reference_of(path).number_of(frame) for frame in video.frames(range(50))]
    assert numbers == list(range(50))


@pytest.mark.parametrize('extension', ['mp4', 'mkv'])
def test_frames_before_the_first_key_frame_do_not_count(made, reference_of, tmp_path, extension):
    path = tmp_path / f'second_half.{extension}'
    with av.open(str(made / 'open_gop.mp4')) as source, av.open(str(path), 'w') as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        (key,) = [i for i, packet in enumerate(packets) if packet.is_keyframe][2:3]
        for packet in packets[key:]:
            packet.stream = stream
            target.mux(packet)
    assert sum(packet.pts < packets[key].pts for packet in packets[key:]) > 0
    with open_video(str(path), 'pyav') as video:
        whole = reference_of(made / 'open_gop.mp4')
        numbers = [whole.number_of(frame) for frame in video.frames(range(video.num_frames))]
    assert numbers == list(range(24, 50))


def test_decoding_starts_at_a_key_frame(made, reference_of, tmp_path):
    # Of the first 36 frames, only the first can still be decoded.
    path = tmp_path / 'holed.mp4'
    content = bytearray((made / 'h264.mp4').read_bytes())
    with av.open(str(made / 'h264.mp4')) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        key = [p.pos for p in packets if p.is_keyframe][3]
        content[packets[1].pos : key] = bytes(key - packets[1].pos)
    path.write_bytes(content)
    reference = reference_of(made / 'h264.mp4')
    with open_video(str(path), 'pyav') as video:
        (frame,) = video.frames([40])
        assert reference.number_of(frame) == 40
        with pytest.raises(DataError, match=r'without \[30\]: '):
            video.frames([30])


def test_frame_requested_twice_is_decoded_once(made, reader):
    with open_video(str(made / 'h264.mp4'), reader) as video:
        first, other, again = video.frames([30, 3, 30])
    assert np.shares_memory(first, again)
    assert not np.shares_memory(first, other)


def test_reading_continues_where_it_stopped(made, reference_of, reader):
    # Parts of a video whose limits are no key frames, as a long video is read.
    reference = reference_of(made / 'h264.mp4')
    with open_video(str(made / 'h264.mp4'), reader) as video:
        numbers = [
            reference.number_of(frame)
            for start in range(0, video.num_frames, 7)
            for frame in video.frames(range(start, min(start + 7, video.num_frames)))
        ]
    assert numbers == list(range(50))


# ------------------------------------------------------------------- two frames in a packet
def pack_b_frames(source, target):
    """Writes MPEG-4 as DivX put it into AVI: a B-frame in the packet of the frame before it, then an empty one."""
    start = b'\0\0\1\xb6'
    with av.open(str(source)) as container, av.open(str(target), 'w') as out:
        stream = container.streams.video[0]
        packets = [bytes(p) for p in container.demux(stream) if p.size]
        # 0: intra, 1: predicted, 2: from both sides
        kinds = [data[data.index(start) + 4] >> 6 for data in packets]
        written = out.add_stream_from_template(stream)
        written.codec_context.extradata = stream.codec_context.extradata
        number, position = 0, 0
        while position < len(packets):
            data, kind = packets[position], kinds[position]
            group = [data]
            if kind == 0:  # who packs says so
                at = data.index(start)
                group = [data[:at] + b'\0\0\1\xb2DivX503b1393p' + data[at:]]
            if kinds[position + 1 : position + 2] == [2] and kind != 2:
                group = [group[0] + packets[position + 1], _empty_frame(data)]
                position += 1
            position += 1
            for content in group:
                packet = av.Packet(content)
                packet.pts = packet.dts = number
                packet.time_base, packet.stream = stream.time_base, written
                packet.is_keyframe = content is group[0] and kind == 0
                out.mux(packet)
                number += 1


def _empty_frame(data):
    """A frame that repeats this one: its kind, no second passed, its time in 5 bits, and that nothing is coded."""
    at = data.index(b'\0\0\1\xb6') + 4
    bits = ''.join(f'{byte:08b}' for byte in data[at : at + 8])
    behind_seconds = bits.index('0', 2) + 2  # and a marker
    bits = f'0101{bits[behind_seconds : behind_seconds + 5]}100'
    bits += '1' * (-len(bits) % 8)
    return b'\0\0\1\xb6' + bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def test_frames_that_share_a_packet_are_distinguished(tmp_path):
    write_clip(tmp_path / 'plain.avi', 25, options=dict(bf='1', g='12'))
    pack_b_frames(tmp_path / 'plain.avi', tmp_path / 'packed.avi')
    plain = Reference(tmp_path / 'plain.avi').frames
    path = str(tmp_path / 'packed.avi')
    assert (tmp_path / 'packed.avi').read_bytes().count(b'\0\0\1\xb6') > 30
    with open_video(path) as video:
        assert 24 <= video.num_frames <= 25
        levels = [int(frame.mean()) for frame in video.frames(range(24))]
        assert np.abs(np.array(levels) - plain.mean(axis=(1, 2, 3))[:24]).max() < 3
        for i in (2, 17, 7):
            assert np.array_equal(video.frames([i])[0], video.frames([i, 23])[0])
            assert abs(int(video.frames([i])[0].mean()) - levels[i]) < 1
