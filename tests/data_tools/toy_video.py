# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np

from vicmae.errors import DataError
from vicmae.io.video import VideoReader


class ToyVideo(VideoReader):
    """Frames of one level each, some of which can't be decoded; keeps the numbers of each call."""

    name = 'toy'
    height = width = 0

    def __init__(self, num_frames, bad=(), *, fps=10.0, height=32, width=48):
        self.num_frames, self.bad, self.fps = num_frames, set(bad), fps
        self.height, self.width = height, width
        self.asked, self.closed = [], False

    def frames(self, ids):
        self.asked.append(list(ids))
        if self.bad & set(ids):
            raise DataError(f"Can't decode frames {ids}.")
        return [np.full((self.height, self.width, 3), 10 * n % 256, np.uint8) for n in ids]

    def ids_at(self, seconds):
        return [min(self.num_frames - 1, int(time * self.fps + 1e-6)) for time in seconds]

    def close(self):
        self.closed = True
