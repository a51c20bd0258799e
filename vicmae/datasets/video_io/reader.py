# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What the rest of the house knows of a video. T frames, H W pixels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from vicmae.errors import DataError

READERS = ('auto', 'decord', 'torchcodec', 'pyav')


class VideoReader(ABC):
    """An open video. Frames are numbered from 0 in the order in which they are shown.

    Attributes:
        num_frames: Number of frames.
        fps: Average frames per second.
        height, width: Of a frame, turned upright, in pixels.
    """

    num_frames: int
    fps: float
    height: int
    width: int

    @abstractmethod
    def frames(self, ids: Sequence[int]) -> list[np.ndarray]:
        """Decodes frames by number, in the order asked for: each (H, W, 3), uint8, RGB."""

    @abstractmethod
    def ids_at(self, seconds: Sequence[float]) -> list[int]:
        """Numbers of the frames that are shown at these times, counted from the first frame's."""

    def frames_at(self, seconds: Sequence[float]) -> list[np.ndarray]:
        """Decodes the frames that are shown at these times."""
        return self.frames(self.ids_at(seconds))

    @abstractmethod
    def close(self) -> None:
        """Lets go of the file."""

    def __enter__(self) -> 'VideoReader':
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()


def open_video(
    source: 'str | bytes | VideoReader', reader: str = 'auto', name: str | None = None
) -> VideoReader:
    """Opens a video.

    Args:
        source: Path, the bytes of a file, or an open reader, which is returned as it is.
        reader: One of `READERS`.
        name: What messages call it, where `source` is bytes.
    """
    if isinstance(source, VideoReader):
        return source
    from ._decord import DecordReader

    opened = DecordReader(source, name or str(source))
    if opened.num_frames < 1:
        raise DataError(f'The video {opened.name!r} has no frames.')
    return opened
