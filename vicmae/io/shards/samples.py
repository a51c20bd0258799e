# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The samples of many shards as one list, each reached by index and `pread`."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from vicmae.errors import DataError

from .files import ShardFile, open_shards
from .index import Member, ShardIndex, read_index
from .remote import is_url, read_part

_MAX_OPEN_FILES = 256  # a process may often have 1024 in all
_MAX_OPEN_INDEXES = 8192  # no files, but maps, of which a process may have 65530


class ShardedSamples:
    """The samples of some `KINDS` in many shards, as a `Catalogue`. See `ShardSource` for the arguments.

    An index is mapped into memory when it is first needed: the system keeps one copy for all processes.
    """

    labelling = 'Pack them from files with labels'

    def __init__(
        self, shards: str | Sequence[str], kinds: tuple[str, ...], cache_dir: str = ''
    ) -> None:
        files = open_shards(shards, cache_dir)
        self.name = shards if isinstance(shards, str) else f'{shards[0]}, ...'
        self._kinds = kinds
        self._names = [file.name for file in files]
        self._places = [file.place for file in files]
        self._index_paths = [file.index_file for file in files]
        self._ends = np.cumsum([sum(file.summary.counts[kind] for kind in kinds) for file in files])
        if not len(self):
            raise DataError(_nothing_of(kinds, files))
        self._class_names = _merge_class_names(files)
        known = tuple(self._class_names.values())
        self.classes = known if list(self._class_names) == list(range(len(known))) else None
        self._open_files: dict[int, BinaryIO] = {}
        self._open_indexes: dict[int, ShardIndex] = {}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> dict[str, Any]:
        shard, index, sample = self._find(number)
        label = int(index.arrays['labels'][sample])
        known = dict(path=self._path(shard, index.key(sample)), gt_label=label)
        if label in self._class_names:
            known['class_name'] = self._class_names[label]
        return known

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_open_files': {}, '_open_indexes': {}}

    def labels(self) -> np.ndarray:
        """The label of each sample, -1 for none."""
        indexes = map(self._index, range(len(self._names)))
        return np.concatenate([i.arrays['labels'][i.samples_of(self._kinds)] for i in indexes])

    def medium(self, number: int) -> 'ShardedMedium':
        """Returns the image, the video or the frames of a sample, to be read."""
        shard, index, sample = self._find(number)
        members = index.media(sample)
        kind, fps = index.kind(sample), float(index.arrays['fps'][sample])

        def read(i: int) -> bytes:
            content = self._read(shard, members[i])
            if len(content) != members[i].size:
                raise DataError(
                    f"Can't read {self._path(shard, index.key(sample))!r}: of its {members[i].size} bytes the shard "
                    f"has {len(content)}. It is cut off, or isn't the one that its index was made of."
                )
            return content

        return ShardedMedium(kind, fps, len(members), read)

    def _path(self, shard: int, key: str) -> str:
        return f'{self._names[shard]}/{key}'

    def _find(self, number: int) -> tuple[int, ShardIndex, int]:
        """Finds the shard of a sample, its index, and the sample's number in it."""
        shard = int(np.searchsorted(self._ends, number, side='right'))
        index = self._index(shard)
        first = int(self._ends[shard - 1]) if shard else 0
        sample = number - first
        if int(self._ends[shard]) - first < len(index):  # it has other kinds, too
            sample = int(index.samples_of(self._kinds)[sample])
        return shard, index, sample

    def _index(self, shard: int) -> ShardIndex:
        if shard not in self._open_indexes:
            if len(self._open_indexes) >= _MAX_OPEN_INDEXES:
                self._open_indexes.clear()
            self._open_indexes[shard] = read_index(self._index_paths[shard])
        return self._open_indexes[shard]

    def _read(self, shard: int, member: Member) -> bytes:
        place = self._places[shard]
        try:
            if is_url(place):
                return read_part(place, member.offset, member.size) if member.size else b''
            return os.pread(self._file(shard).fileno(), member.size, member.offset)
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"Can't read the shard {place!r}: {reason}.") from error

    def _file(self, shard: int) -> BinaryIO:
        """Returns a shard's file, opened by each process for itself."""
        if shard not in self._open_files:
            if len(self._open_files) >= _MAX_OPEN_FILES:
                self._open_files.pop(next(iter(self._open_files))).close()
            self._open_files[shard] = open(self._places[shard], 'rb')  # noqa: SIM115
        return self._open_files[shard]


class ShardedMedium(NamedTuple):
    """An image, a video or frames in a shard."""

    kind: str
    fps: float  # 0 if unknown
    num_members: int
    read: Callable[[int], bytes]  # of a member, by number


def _merge_class_names(files: Sequence[ShardFile]) -> dict[int, str]:
    """Collects the names of the classes, in the order of their labels."""
    merged: dict[int, tuple[str, str]] = {}
    for file in files:
        for label, name in file.summary.class_names.items():
            known, where = merged.setdefault(label, (name, file.name))
            if known != name:
                raise DataError(
                    f'The label {label} is {known!r} in {where!r} and {name!r} in {file.name!r}: these shards are of '
                    'different data sets. Make a source of each.'
                )
    return {label: merged[label][0] for label in sorted(merged)}


def _nothing_of(kinds: tuple[str, ...], files: Sequence[ShardFile]) -> str:
    held: Counter[str] = Counter()
    for file in files:
        held.update({kind: count for kind, count in file.summary.counts.items() if count})
    what = ', '.join(f'{kind}: {count}' for kind, count in held.items()) or 'no samples at all'
    return (
        f'No samples of the kind {" or ".join(kinds)} are in the shards ({len(files)}, the first is '
        f'{files[0].name!r}). There are {what}.'
    )
