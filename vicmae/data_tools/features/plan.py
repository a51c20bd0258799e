# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Divides files into parts that are encoded one by one, on any process."""

import hashlib
import math
import os
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from vicmae.datasets.clip_reader import Span, is_video
from vicmae.datasets.sources.found_files import PackedNames
from vicmae.errors import DataError
from vicmae.io.video import seconds_of

from ..checking.verify import find_files

_BATCHES_OF_IMAGES = 8
_BYTES_OF_VIDEOS = 64 * 2**20
# A video of so many bytes is read in several parts, of so many seconds. Opening it reads it to its end without decoding
# it, so the parts must not be short.
_BYTES_OF_LONG_VIDEOS = 256 * 2**20
_SECONDS_OF_A_PART = 1800.0
_SEEKABLE = ('.mp4', '.m4v', '.mov', '.mkv', '.webm')


class Part(NamedTuple):
    """A part of the files, which is encoded in batches of its own: it has the same features on any process.

    Attributes:
        number: Number of the part, from 0.
        first: Number of its first file.
        end: Number of the first file of the next part.
        span: The part of a long video, which is the only file; None for whole files.
        skipped: Why files in it are not opened, by their number: they have ended the process that read them.
    """

    number: int
    first: int
    end: int
    span: Span | None = None
    skipped: dict[int, str] = {}  # never changed

    @property
    def num_files(self) -> int:
        """Number of files that are complete with this part."""
        is_whole = self.span is None or self.span.end == math.inf
        return self.end - self.first if is_whole else 0


class Plan:
    """The files to encode, and the parts that they are encoded in.

    Parts depend on the files and the batch size only. A part ends after so many images that most of its batches are
    full, or after 64 MB of videos. A long video has parts of its own.

    Args:
        inputs: Files, folders and lists of files, as `vicmae verify` takes them.
        batch_size: Frames or clips that are encoded together.
        cuts: Whether long videos are divided: into windows, not into the few frames of one row.
    """

    def __init__(self, inputs: Iterable[str], batch_size: int, *, cuts: bool) -> None:
        self.files = PackedNames(find_files(inputs).labels)
        if not len(self.files):
            raise DataError(
                f'There are no images or videos in {", ".join(map(repr, inputs))}, by their extensions.'
            )
        self._ends, self._begins = array('q'), array('d')
        self._first, self._num_images, self._num_bytes = 0, 0, 0
        digest = hashlib.sha256()
        for number in range(len(self.files)):
            path = self.files[number]
            digest.update(os.fsencode(path) + b'\0')
            if not is_video(path):
                self._num_images += 1
            else:
                size = _size_of(path)
                digest.update(str(size).encode())
                self._num_bytes += size
                if cuts and size >= _BYTES_OF_LONG_VIDEOS and path.lower().endswith(_SEEKABLE):
                    num_parts = math.ceil(seconds_of(path) / _SECONDS_OF_A_PART)
                    digest.update(str(num_parts).encode())
                    self._add_long(number, num_parts)
            full = self._num_images >= _BATCHES_OF_IMAGES * batch_size
            if full or self._num_bytes >= _BYTES_OF_VIDEOS:
                self._close(number + 1)
        self._close(len(self.files))
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> Part:
        end, begin = self._ends[number], self._begins[number]
        before = self._ends[number - 1] if number else 0
        if math.isnan(begin):
            return Part(number, before, end)
        is_last = number + 1 == len(self) or self._ends[number + 1] != end
        return Part(
            number, end - 1, end, Span(begin, math.inf if is_last else begin + _SECONDS_OF_A_PART)
        )

    def __iter__(self) -> Iterator[Part]:
        return (self[number] for number in range(len(self)))

    def _close(self, end: int) -> None:
        """Ends a part of whole files, if it has any."""
        if end > self._first:
            self._ends.append(end)
            self._begins.append(math.nan)
        self._first, self._num_images, self._num_bytes = end, 0, 0

    def _add_long(self, number: int, num_parts: int) -> None:
        """Adds the parts of a long video."""
        if num_parts > 1:
            self._close(number)
            for part in range(num_parts):
                self._ends.append(number + 1)
                self._begins.append(part * _SECONDS_OF_A_PART)
            self._first, self._num_bytes = number + 1, 0


def _size_of(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:  # reading it says why
        return 0
