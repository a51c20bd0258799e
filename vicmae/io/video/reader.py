# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The interface of all video readers, and the rules by which odd files are read. H W pixels, upright.

What is in a file counts, whatever its name ends in. All readers number its frames alike, or refuse it:

- Of several video streams it is the one that FFmpeg takes for the best. A cover picture of music is none.
- Frames are numbered in the order in which they are shown, whatever their rate. Not counted are those that an edit
  list cuts away, that are never shown, that repeat the one before without data of their own, and what comes before
  the first key frame.
- A file that is cut off has the frames that are there as a whole.
- A frame is given if all decodes from its key frame on to where it is; behind a packet that doesn't, up to the next
  key frame, it is a `DataError`. Damage that a decoder conceals is noticed by pyav alone, and not in all formats.
- A list of other files (concat, HLS, DASH) and plain text are no videos.
- No video stream, no frames, frames of no size: `DataError` when the file is opened.
- Where packets tell no times, or impossible ones (raw streams, H.264 in AVI, two frames of MPEG-4 in a packet, files
  joined byte by byte), a file is decoded once when it is opened, and from its beginning for each read. Only pyav
  does so.
- Rotations and mirrors in the metadata are applied. Pixels that aren't square aren't stretched, fields stay woven,
  more than 8 bits are cut, brightness beyond the standard's isn't mapped, and what is transparent shows its colour.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from vicmae.errors import DataError

# 'auto' tries the others in this order.
READERS = ('auto', 'pyav', 'decord', 'torchcodec')


class VideoReader(ABC):
    """An open video. Frames are numbered from 0 in the order in which they are shown.

    Attributes:
        name: What messages call it.
        num_frames: Number of frames.
        fps: Average frames per second.
    """

    name: str
    num_frames: int
    fps: float

    @property
    @abstractmethod
    def height(self) -> int:
        """Of the first frame, turned upright, in pixels."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Of the first frame, turned upright, in pixels."""

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

    def require_ids(self, ids: Sequence[int]) -> None:
        """Raises an error where frames are asked for that don't exist."""
        wrong = [i for i in ids if not 0 <= i < self.num_frames]
        if wrong:
            raise DataError(
                f'The video {self.name!r} has {self.num_frames} frames, numbered from 0: there is no frame '
                f'{wrong[0]}.'
            )

    def __enter__(self) -> 'VideoReader':
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()


def require_reader(name: str) -> None:
    """Raises ValueError where there is no reader of this name."""
    if name not in READERS:
        raise ValueError(f'`reader` must be one of {", ".join(READERS)}, got {name!r}.')
