# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What the rest of the house knows of a video file. T frames, H W pixels."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from vicmae.errors import DataError


class VideoReader(Protocol):
    """An open video.

    Attributes:
        num_frames: Number of frames.
        fps: Average frames per second.
    """

    num_frames: int
    fps: float

    def frames(self, ids: Sequence[int]) -> list[np.ndarray]:
        """Decodes frames by number, in the order asked for: each (H, W, 3), uint8, RGB."""
        ...


def open_video(path: str) -> VideoReader:
    """Opens a video with the decoder that is at hand."""
    from ._decord import DecordReader

    reader = DecordReader(path)
    if reader.num_frames < 1:
        raise DataError(f'The video {path!r} has no frames.')
    return reader
