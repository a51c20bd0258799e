# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Frames one after the other are those of `frames`; what is damaged is an error, and costs no others."""

import av
import numpy as np
import pytest

from vicmae.errors import DataError
from vicmae.io.video import open_video
from vicmae.io.video._pyav import PyavVideo

NUM_FRAMES = 60


def write(path, gop, codec='libx264', **options):
    rng = np.random.default_rng(0)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        stream.codec_context.gop_size = gop
        for number in range(NUM_FRAMES):
            pixels = rng.integers(0, 60, (48, 64, 3)).astype(np.uint8) + np.uint8(3 * number)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        container.mux(stream.encode())
    return str(path)


@pytest.fixture
def packets(monkeypatch):
    """The packets that were read, of any file."""
    sent, read = [], PyavVideo._packets

    def count(self):
        for packet in read(self):
            if packet.size:
                sent.append(packet.pts)
            yield packet

    monkeypatch.setattr(PyavVideo, '_packets', count)
    return sent


@pytest.mark.parametrize('step', [1, 2, 7, 16, 17, 30])
@pytest.mark.parametrize(
    ('name', 'gop', 'codec'),
    [
        ('a.mp4', 12, 'libx264'),
        ('a.mp4', 250, 'libx264'),
        ('a.avi', 12, 'libx264'),  # without times
    ],
)
def test_streamed_frames_are_those_of_single_reads_and_decoded_once(
    tmp_path, packets, name, gop, codec, step
):
    path = write(tmp_path / name, gop, codec)
    ids = list(range(0, NUM_FRAMES, step))
    with open_video(path, 'pyav') as video:
        packets.clear()
        streamed = dict(video.stream(ids))
        assert len(packets) <= 1.05 * NUM_FRAMES
    assert list(streamed) == ids
    with open_video(path, 'pyav') as video:
        for i in reversed(ids):
            assert np.array_equal(streamed[i], video.frames([i])[0])


def test_stream_goes_to_a_key_frame_that_is_far(tmp_path, packets):
    with open_video(write(tmp_path / 'a.mp4', 20), 'pyav') as video:
        packets.clear()
        assert [i for i, _ in video.stream([0, 45])] == [0, 45]
        assert len(packets) < 25


@pytest.mark.parametrize('step', [1, 5])
def test_damage_costs_the_frames_up_to_the_next_key_frame(tmp_path, step):
    path = write(tmp_path / 'a.mp4', 12, bf='0', x264opts='no-scenecut')
    with av.open(path) as container:
        broken = [p for p in container.demux(video=0) if p.size][15]
    data = bytearray((tmp_path / 'a.mp4').read_bytes())
    data[broken.pos + 4 : broken.pos + broken.size] = b'\xff' * (broken.size - 4)
    (tmp_path / 'a.mp4').write_bytes(data)
    with open_video(path, 'pyav') as video:
        read = dict(video.stream(range(0, NUM_FRAMES, step)))
        lost = [i for i, pixels in read.items() if isinstance(pixels, DataError)]
        assert lost == [i for i in range(0, NUM_FRAMES, step) if 15 <= i < 24]
        for i in set(read) - set(lost):
            assert np.array_equal(read[i], video.frames([i])[0])


def test_times_are_those_of_the_file(tmp_path):
    with open_video(write(tmp_path / 'a.mp4', 12)) as video:
        assert video.times_of([0, 1, 50]) == pytest.approx([0, 0.04, 2.0])
        assert video.duration == pytest.approx(NUM_FRAMES / 25)
        assert video.ids_at(video.times_of(range(NUM_FRAMES))) == list(range(NUM_FRAMES))
