# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Divides files into parts that are encoded one by one, on any process."""

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from vicmae.datasets.clip_reader import is_video
from vicmae.datasets.sources.found_files import PackedNames
from vicmae.errors import DataError

from ..checking.verify import find_files

_BYTES_OF_VIDEOS = 64 * 2**20
_BATCHES_OF_IMAGES = 8


class Part(NamedTuple):
    """A part of the files, which is encoded in batches of its own: it has the same features on any process.

    Attributes:
        number: Number of the part, from 0.
        first: Number of its first file.
        end: Number of the first file of the next part.
        skipped: Why files in it are not opened, by their number: they have ended the process that read them.
    """

    number: int
    first: int
    end: int
    skipped: dict[int, str] = {}  # never changed


class Plan:
    """The files to encode, and the parts that they are encoded in.

    Parts depend on the files and the batch size only. A part ends after so many images that most of its batches are
    full, or after 64 MB of videos.

    Args:
        inputs: Files, folders and lists of files, as `vicmae verify` takes them.
        batch_size: Frames or clips that are encoded together.
    """

    def __init__(self, inputs: Iterable[str], batch_size: int) -> None:
        self.files = PackedNames(find_files(inputs).labels)
        if not len(self.files):
            raise DataError(
                f'There are no images or videos in {", ".join(map(repr, inputs))}, by their extensions.'
            )
        digest = hashlib.sha256()
        self._ends = array('q')
        num_images = num_bytes = 0
        for number in range(len(self.files)):
            path = self.files[number]
            digest.update(os.fsencode(path) + b'\0')
            if is_video(path):
                size = _size_of(path)
                digest.update(str(size).encode())
                num_bytes += size
            else:
                num_images += 1
            if num_images >= _BATCHES_OF_IMAGES * batch_size or num_bytes >= _BYTES_OF_VIDEOS:
                self._ends.append(number + 1)
                num_images = num_bytes = 0
        if not self._ends or self._ends[-1] < len(self.files):
            self._ends.append(len(self.files))
        self.digest = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> Part:
        return Part(number, self._ends[number - 1] if number else 0, self._ends[number])

    def __iter__(self) -> Iterator[Part]:
        return (self[number] for number in range(len(self)))


def _size_of(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:  # reading it says why
        return 0
