# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import av
import numpy as np
import pytest

from vicmae.data_tools.speed.key_frames import find_key_frames


def clip(path, num_frames, gop, bframes=0, open_gop=0):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = 'yuv420p'
        fixed = f'keyint={gop}:min-keyint={gop}:scenecut=0:bframes={bframes}:b-adapt=0'
        stream.options = {'x264-params': f'{fixed}:open-gop={open_gop}'}
        scene = np.random.default_rng(0).integers(256, size=(32, 32 + num_frames, 3), dtype='uint8')
        for n in range(num_frames):
            pixels = np.ascontiguousarray(scene[:, n : n + 32])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        container.mux(stream.encode())
    return str(path)


def decode_by_hand(gop, ids):
    """Frames from each one's key frame on, each once: what a decoder has to go through."""
    return len({frame for wanted in ids for frame in range(wanted // gop * gop, wanted + 1)})


@pytest.mark.parametrize('bframes', [0, 2])
@pytest.mark.parametrize(
    'ids', [[0], [59], [5, 7], [12, 13], [11, 12], [3, 50], [0, 20, 21, 40], [59, 59]]
)
def test_frames_on_the_way_are_those_from_the_key_frame_on(tmp_path, ids, bframes):
    path = clip(tmp_path / 'a.mp4', 60, 12, bframes)
    assert find_key_frames(path, ids) == (12, decode_by_hand(12, ids))


@pytest.mark.parametrize('wanted', [9, 11, 12, 22])
def test_key_frames_are_counted_in_the_order_in_which_frames_are_shown(tmp_path, wanted):
    # With an open GOP, frames that are shown before a key frame come behind it in the file.
    path = clip(tmp_path / 'a.mp4', 60, 12, bframes=3, open_gop=1)
    assert find_key_frames(path, [wanted])[1] == decode_by_hand(12, [wanted])


def test_bytes_of_a_file_are_read_as_the_file(tmp_path):
    path = clip(tmp_path / 'a.mp4', 40, 10)
    with open(path, 'rb') as file:
        assert find_key_frames(file.read(), [15]) == find_key_frames(path, [15]) == (10, 6)


def test_file_without_packets_has_no_key_frames(tmp_path):
    broken = tmp_path / 'b.mp4'
    broken.write_bytes(b'no video')
    assert find_key_frames(str(broken), [0]) is None
    assert find_key_frames(object(), [0]) is None
