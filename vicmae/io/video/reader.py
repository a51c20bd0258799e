# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The interface of all video readers, and the rules for odd files. H W pixels, upright.

The content of a file counts, not its extension. All readers number its frames alike, or refuse it:

- Of several video streams, FFmpeg's choice is read. A cover picture of music is no video.
- Frames are numbered in the order in which they are shown. Those that an edit list cuts away, that are never shown,
  that repeat the previous one without data, and those before the first key frame don't count.
- A truncated file has the frames that are complete.
- After a packet that can't be decoded, frames up to the next key frame are a `DataError`. Only pyav notices damage
  that a decoder conceals, and not in all formats.
- Lists of other files (concat, HLS, DASH) and plain text are no videos.
- No video stream, no frames, or frames without a size are a `DataError` when the file is opened.
- If packets have no times, or impossible ones (raw streams, H.264 in AVI, two frames of MPEG-4 in a packet, files
  joined byte by byte), only pyav reads the file: it decodes it once when it is opened, and from the start at each read.
- Rotations and mirrors in the metadata are applied. Non-square pixels aren't stretched, fields aren't deinterlaced,
  more than 8 bits are cut, HDR isn't tone-mapped, and transparent pixels show their colour.
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
        name: Its name in messages.
        num_frames: Number of frames.
        fps: Average frames per second.
    """

    name: str
    num_frames: int
    fps: float

    @property
    @abstractmethod
    def height(self) -> int:
        """Height of the first frame, upright, in pixels."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Width of the first frame, upright, in pixels."""

    @abstractmethod
    def frames(self, ids: Sequence[int]) -> list[np.ndarray]:
        """Decodes frames by number, in the order asked for: each (H, W, 3), uint8, RGB."""

    @abstractmethod
    def ids_at(self, seconds: Sequence[float]) -> list[int]:
        """Returns the numbers of the frames shown at these times after the first frame's."""

    def frames_at(self, seconds: Sequence[float]) -> list[np.ndarray]:
        """Decodes the frames shown at these times."""
        return self.frames(self.ids_at(seconds))

    @abstractmethod
    def close(self) -> None:
        """Closes the file."""

    def require_ids(self, ids: Sequence[int]) -> None:
        """Raises DataError if one of the frames doesn't exist."""
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
    """Raises ValueError if there is no reader of this name."""
    if name not in READERS:
        raise ValueError(f'`reader` must be one of {", ".join(READERS)}, got {name!r}.')
