# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reads the samples of many shards as one list."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from vicmae.errors import DataError

from .files import ShardFile, open_shards
from .index import Member, ShardIndex, read_index
from .remote import is_url, read_part

_MAX_OPEN_FILES = 256  # the usual limit of a process is 1024
_MAX_OPEN_INDEXES = 8192  # memory maps; the usual limit of a process is 65530


class ShardedSamples:
    """A `Catalogue` of the samples of some `KINDS` in many shards. `ShardSource` describes the arguments.

    An index is mapped into memory when it is first needed, and shared by all processes.
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
        names = tuple(self._class_names.values())
        self.classes = names if list(self._class_names) == list(range(len(names))) else None
        self._open_files: dict[int, BinaryIO] = {}
        self._open_indexes: dict[int, ShardIndex] = {}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, number: int) -> dict[str, Any]:
        shard, index, sample = self._find(number)
        label = int(index.arrays['labels'][sample])
        info = dict(path=self._path(shard, index.key(sample)), gt_label=label)
        if label in self._class_names:
            info['class_name'] = self._class_names[label]
        return info

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_open_files': {}, '_open_indexes': {}}

    def labels(self) -> np.ndarray:
        """Returns the label of each sample, -1 for none."""
        indexes = map(self._index, range(len(self._names)))
        return np.concatenate([i.arrays['labels'][i.samples_of(self._kinds)] for i in indexes])

    def medium(self, number: int) -> 'ShardedMedium':
        """Returns a handle to the image, video or frames of a sample."""
        shard, index, sample = self._find(number)
        members = index.media(sample)
        kind, fps = index.kind(sample), float(index.arrays['fps'][sample])

        def read(i: int) -> bytes:
            content = self._read(shard, members[i])
            if len(content) != members[i].size:
                raise DataError(
                    f"Can't read {self._path(shard, index.key(sample))!r}: of its {members[i].size} bytes the shard "
                    f'has {len(content)}. It is truncated, or was replaced after its index was made.'
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
        if int(self._ends[shard]) - first < len(index):  # the shard also has other kinds
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
        """Returns a shard's file; each process opens its own."""
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
    read: Callable[[int], bytes]  # number of a member -> content


def _merge_class_names(files: Sequence[ShardFile]) -> dict[int, str]:
    """Collects the names of the classes, in the order of their labels."""
    merged: dict[int, tuple[str, str]] = {}
    for file in files:
        for label, name in file.summary.class_names.items():
            first_name, first_file = merged.setdefault(label, (name, file.name))
            if first_name != name:
                raise DataError(
                    f'The label {label} is {first_name!r} in {first_file!r} and {name!r} in {file.name!r}: '
                    'these shards belong to different data sets. Use one source for each.'
                )
    return {label: merged[label][0] for label in sorted(merged)}


def _nothing_of(kinds: tuple[str, ...], files: Sequence[ShardFile]) -> str:
    counts: Counter[str] = Counter()
    for file in files:
        counts.update({kind: count for kind, count in file.summary.counts.items() if count})
    summary = ', '.join(f'{kind}: {count}' for kind, count in counts.items()) or 'no samples at all'
    return (
        f'The shards have no samples of the kind {" or ".join(kinds)} ({len(files)} shards, the first is '
        f'{files[0].name!r}). They have {summary}.'
    )
