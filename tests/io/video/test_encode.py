# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from vicmae.io.video import open_video
from vicmae.io.video.encode import encode_mp4

COLOURS = [(200, 30, 30), (30, 160, 60), (40, 60, 200), (240, 240, 240), (10, 10, 10)]


def frames():
    return [np.full((32, 48, 3), colour, np.uint8) for colour in COLOURS]


@pytest.mark.parametrize('fps', [4, 30000 / 1001])
def test_frames_come_back_in_order_with_their_colours(fps):
    content, num_frames, num_keys = encode_mp4(frames(), 32, 48, fps=fps, options={'crf': '10'})
    assert num_frames == 5
    assert num_keys >= 1
    with open_video(content) as video:
        assert (video.num_frames, video.height, video.width) == (5, 32, 48)
        assert video.fps == pytest.approx(fps)
        decoded = np.stack(video.frames(range(5))).astype(int)
    assert np.abs(decoded - np.stack(frames())).max() <= 4


@pytest.mark.parametrize('options', [{}, {'x264-params': 'keyint=4:bframes=0'}])
def test_same_frames_give_the_same_bytes(options):
    # A moving picture for which x264's mbtree gave one of four files.
    coarse = np.random.default_rng(0).integers(0, 256, (27, 37, 3), dtype=np.uint8)
    picture = coarse.repeat(8, axis=0).repeat(8, axis=1)
    clip = np.stack([np.roll(picture, (3 * n, 2 * n), (0, 1)) for n in range(8)])
    options = {'crf': '16', **options}
    encoded = {encode_mp4([*clip.copy()], 216, 296, fps=4, options=options) for _ in range(10)}
    assert len(encoded) == 1
