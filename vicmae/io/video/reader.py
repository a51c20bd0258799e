# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The interface of all video readers, and how they treat unusual files. H W pixels, upright.

The format is detected from the content, not from the extension. All readers number the frames of a file alike, or
refuse it:

- Of several video streams, the one that FFmpeg chooses is read. The cover picture of a music file is not a video.
- Frames are numbered in display order. Not counted are frames that an edit list removes, that are never shown, that
  repeat the previous one without data, and those before the first key frame.
- Of a truncated file, the complete frames are read.
- After a packet that can't be decoded, reading a frame before the next key frame raises a `DataError`. Damage that a
  decoder conceals is detected by pyav only, and not in all formats.
- Lists of other files (concat, HLS, DASH) and plain text are not read as videos.
- Opening a file without a video stream, without frames, or with frames of unknown size raises a `DataError`.
- If packets have no times, or impossible ones (raw streams, H.264 in AVI, two frames of MPEG-4 in a packet, files
  joined byte by byte), only pyav reads the file: it decodes it once when it is opened, and from the start at each read.
- Rotations and mirrors in the metadata are applied. Non-square pixels aren't stretched, fields aren't deinterlaced,
  more than 8 bits are truncated, HDR isn't tone-mapped, and transparency is ignored.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vicmae.errors import DataError

_FRAMES_AT_ONCE = 16  # decoded in memory, in a stream

# 'auto' tries the others in this order.
READERS = ('auto', 'pyav', 'decord', 'torchcodec')


class VideoReader(ABC):
    """An open video. Frames are numbered from 0 in display order.

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
        """Decodes frames by number, in the order of `ids`: each (H, W, 3), uint8, RGB."""

    @abstractmethod
    def ids_at(self, seconds: Sequence[float]) -> list[int]:
        """Returns the numbers of the frames shown at these times, in seconds after the first frame."""

    def frames_at(self, seconds: Sequence[float]) -> list[np.ndarray]:
        """Decodes the frames shown at these times, in seconds after the first frame."""
        return self.frames(self.ids_at(seconds))

    def times_of(self, ids: Sequence[int]) -> list[float]:
        """Returns when frames are shown, in seconds after the first frame."""
        return [i / self.fps for i in ids]

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return self.times_of([self.num_frames - 1])[0] + 1 / self.fps

    def stream(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray | DataError]]:
        """Decodes frames one after the other, each once, with a few in memory.

        Args:
            ids: Numbers of frames, ascending.

        Yields:
            The number and pixels of each frame (H, W, 3), or the error if it can't be decoded.
        """
        start = 0
        while start < len(ids):
            part, num_lost = ids[start : start + _FRAMES_AT_ONCE], 0
            try:
                decoded = self.frames(part)
            except DataError as error:
                num_good, damage = self._find_damage(part, error)
                decoded = self.frames(part[:num_good])
                num_lost = self.num_lost(ids[start + num_good :])
            yield from zip(part, decoded, strict=False)
            start += len(decoded)
            yield from ((i, damage) for i in ids[start : start + num_lost])
            start += num_lost

    def num_lost(self, ids: Sequence[int]) -> int:
        """Returns how many of these frames can't be decoded because the first of them can't."""
        return 1

    def _find_damage(self, ids: Sequence[int], error: DataError) -> tuple[int, DataError]:
        """Returns how many frames come before the first that can't be decoded, and the error."""
        good, bad = 0, len(ids)
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                self.frames(ids[:middle])
                good = middle
            except DataError as earlier:
                bad, error = middle, earlier
        return good, error

    @abstractmethod
    def close(self) -> None:
        """Closes the file."""

    def require_ids(self, ids: Sequence[int]) -> None:
        """Raises a DataError if one of the frames doesn't exist."""
        wrong = [i for i in ids if not 0 <= i < self.num_frames]
        if wrong:
            raise DataError(
                f'The video {self.name!r} has {self.num_frames} frames, numbered from 0, got frame '
                f'{wrong[0]}.'
            )

    def __enter__(self) -> 'VideoReader':
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()


def require_reader(name: str) -> None:
    """Raises a ValueError if there is no reader of this name."""
    if name not in READERS:
        raise ValueError(f'`reader` must be one of {", ".join(READERS)}, got {name!r}.')
