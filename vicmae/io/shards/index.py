# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Tar shards in the WebDataset layout, with an index by which a sample is read by one `pread`.

`vicmae.data_tools.packing.shard_writer` writes them, `ImageShards` and `VideoShards` read them.

**Shard.** A plain tar file. The members of a sample follow each other and are named `KEY.EXTENSION`; the key ends at
the first dot of the file's name (`KEY` may have folders: `ant/0007`). The medium of a sample is the last of these that
it has:

- an image: `KEY.jpg`, or another of `IMAGE_EXTENSIONS`;
- a video: `KEY.mp4`, or another of `VIDEO_EXTENSIONS`;
- the frames of a video: `KEY.0000.jpg`, `KEY.0001.jpg`, ..., in the order of their numbers.

`KEY.json` may have `label` (an integer, at least 0), `class_name`, `fps` (of the frames), `path` (of the original),
and more. The label may also be in `KEY.cls`. Other readers of the layout ignore the index.

**Index.** `NAME.tar.index` next to `NAME.tar`: 8 bytes `vicmaeIX`, the length of the JSON object as a little-endian
64-bit number, the object, padded with spaces to a multiple of 8 bytes, and arrays, each padded likewise. The object has

- `version`: 1; `tar_size`: bytes of the shard, to detect a stale index;
- `extensions`: of the members, without the first dot;
- `counts`: number of samples of each of `KINDS`, in their order;
- `arrays`: name -> data type and number of values, in the order of the file.

`class_names` is text, a JSON object of the names by label. By sample: `key_ends` in `keys` (UTF-8), `member_ends` in
the three arrays of members, `num_media` (number of its first members that are its image, video or frames),
`kinds` (position in `KINDS`), `labels` (-1 for none), `fps` (0 for unknown). By member, sample by sample: `offsets` of
the content in the shard, `sizes` in bytes, `extension_codes` (position in `extensions`).
"""

import json
import math
import os
import re
import struct
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch

from vicmae.errors import DataError
from vicmae.structures import NO_LABEL
from vicmae.utils.files import whole_file

from ..extensions import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS

KINDS = ('other', 'image', 'video', 'frames')
INDEX_SUFFIX = '.index'

_VERSION = 1
_PREAMBLE = struct.Struct('<8sQ')
_MAGIC = b'vicmaeIX'
_ARRAYS = dict(
    class_names='u1',
    keys='u1',
    key_ends='<i8',
    member_ends='<i8',
    num_media='<i4',
    kinds='u1',
    labels='<i4',
    fps='<f4',
    offsets='<i8',
    sizes='<i8',
    extension_codes='<i4',
)
_IMAGE_EXTENSIONS = tuple(extension[1:] for extension in IMAGE_EXTENSIONS)
_VIDEO_EXTENSIONS = tuple(extension[1:] for extension in VIDEO_EXTENSIONS)
_FRAME = re.compile(rf'(\d+)\.(?:{"|".join(_IMAGE_EXTENSIONS)})')
# In bytes. Longer .json files are not read: they can't be a label with a few details.
_LONGEST_NOTE = 2**20


class Member(NamedTuple):
    """One file in a shard."""

    extension: str  # everything after the key, in lower case
    offset: int  # bytes
    size: int


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """The content of a shard and its positions. The module describes the arrays."""

    tar_size: int
    extensions: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays['kinds'])

    @property
    def class_names(self) -> dict[int, str]:
        """Names of classes by label, as far as they are known."""
        return _read_names(self.arrays['class_names'].tobytes())

    def key(self, sample: int) -> str:
        """Returns the key of a sample."""
        return self.arrays['keys'][_span(self.arrays['key_ends'], sample)].tobytes().decode()

    def kind(self, sample: int) -> str:
        """Returns the kind of a sample, one of `KINDS`."""
        return KINDS[self.arrays['kinds'][sample]]

    def members(self, sample: int) -> list[Member]:
        """Returns all members of a sample, the media first."""
        span = _span(self.arrays['member_ends'], sample)
        names = ('extension_codes', 'offsets', 'sizes')
        rows = zip(*(self.arrays[name][span].tolist() for name in names), strict=True)
        return [Member(self.extensions[code], offset, size) for code, offset, size in rows]

    def media(self, sample: int) -> list[Member]:
        """Returns the image, the video, or the frames of a sample."""
        return self.members(sample)[: int(self.arrays['num_media'][sample])]

    def samples_of(self, kinds: tuple[str, ...]) -> np.ndarray:
        """Returns the positions of all samples of these kinds."""
        return np.flatnonzero(np.isin(self.arrays['kinds'], [KINDS.index(kind) for kind in kinds]))


@lru_cache(maxsize=16)  # many shards have the same
def _read_names(text: bytes) -> dict[int, str]:
    return {int(label): name for label, name in json.loads(text).items()}


def _span(ends: np.ndarray, number: int) -> slice:
    return slice(int(ends[number - 1]) if number else 0, int(ends[number]))


def index_path(shard: str) -> str:
    """Returns the path of a shard's index."""
    return shard + INDEX_SUFFIX


def write_index(index: ShardIndex, path: str) -> None:
    """Writes an index file atomically."""
    header = dict(
        version=_VERSION,
        tar_size=index.tar_size,
        extensions=index.extensions,
        counts=np.bincount(index.arrays['kinds'], minlength=len(KINDS)).tolist(),
        arrays={name: [dtype, len(index.arrays[name])] for name, dtype in _ARRAYS.items()},
    )
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with whole_file(path) as file:
        file.write(_PREAMBLE.pack(_MAGIC, len(text)) + text)
        for name, dtype in _ARRAYS.items():
            content = index.arrays[name].astype(dtype).tobytes()
            file.write(content + bytes(-len(content) % 8))


def read_index(path: str) -> ShardIndex:
    """Maps an index file into memory, which processes share."""
    header, position = _read_header(path)
    try:
        size = os.path.getsize(path)
        # Maps of NumPy and Python would keep the file open, and there may be thousands of them.
        content = torch.from_file(path, size=size, dtype=torch.uint8).numpy()
        content.flags.writeable = False
        arrays = {}
        for name, (dtype, count) in header['arrays'].items():
            arrays[name] = np.frombuffer(content, dtype, count, position)
            position += _padded(arrays[name].nbytes)
    except (OSError, RuntimeError, ValueError) as error:
        raise _damaged(path, error) from error
    return ShardIndex(header['tar_size'], tuple(header['extensions']), arrays)


class IndexSummary(NamedTuple):
    """The beginning of an index file."""

    tar_size: int
    counts: dict[str, int]  # number of samples by kind
    class_names: dict[int, str]  # by label


def read_summary(path: str) -> IndexSummary:
    """Reads the beginning of an index file."""
    header, position = _read_header(path)
    try:
        with open(path, 'rb') as file:
            names = os.pread(file.fileno(), header['arrays']['class_names'][1], position)
        counts = dict(zip(KINDS, header['counts'], strict=True))
        return IndexSummary(header['tar_size'], counts, _read_names(names))
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error


def _read_header(path: str) -> tuple[dict[str, Any], int]:
    """Reads the JSON object of an index file; returns it and the start of the arrays."""
    try:
        with open(path, 'rb') as file:
            magic, length = _PREAMBLE.unpack(file.read(_PREAMBLE.size))
            if magic != _MAGIC:
                raise ValueError(f'it begins with {magic!r}')
            header = json.loads(file.read(length))
            size = os.fstat(file.fileno()).st_size
        if header['version'] != _VERSION:
            raise ValueError(f'its version is {header["version"]!r}, not {_VERSION}')
        start = _PREAMBLE.size + length
        arrays = header['arrays'].values()
        expected = start + sum(_padded(np.dtype(dtype).itemsize * n) for dtype, n in arrays)
        if size != expected:
            raise ValueError(f'it has {size} bytes instead of {expected}')
    except (OSError, struct.error, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from error
    return header, start


def _padded(num_bytes: int) -> int:
    return num_bytes + -num_bytes % 8


def _damaged(path: str, error: Exception) -> DataError:
    return DataError(
        f"Can't read the index {path!r}: {error}. Delete it, and it will be made again from the shard."
    )


class IndexBuilder:
    """Builds an index, sample by sample."""

    def __init__(self) -> None:
        self._values: dict[str, list[Any]] = {name: [] for name in _ARRAYS}
        self._codes: dict[str, int] = {}
        self._class_names: dict[int, str] = {}
        self._num_key_bytes = 0

    def __len__(self) -> int:
        return len(self._values['kinds'])

    def add(self, key: str, members: list[Member], info: Mapping[str, Any]) -> None:
        """Adds a sample, with its members in the order of the shard and the content of its `KEY.json`."""
        kind, media = _find_media(members)
        label, fps, name = info.get('label'), info.get('fps'), info.get('class_name')
        label = label if type(label) is int and 0 <= label < 2**31 else NO_LABEL
        fps = fps if isinstance(fps, int | float) and 0 < fps < math.inf else 0
        if label != NO_LABEL and isinstance(name, str):
            self._class_names.setdefault(label, name)
        in_media = set(media)
        for member in media + [member for member in members if member not in in_media]:
            code = self._codes.setdefault(member.extension, len(self._codes))
            self._append(offsets=member.offset, sizes=member.size, extension_codes=code)
        self._num_key_bytes += len(key.encode())
        self._append(
            keys=key.encode(),
            key_ends=self._num_key_bytes,
            member_ends=len(self._values['offsets']),
            num_media=len(media),
            kinds=KINDS.index(kind),
            labels=label,
            fps=fps,
        )

    def _append(self, **values: Any) -> None:
        for name, value in values.items():
            self._values[name].append(value)

    def build(self, tar_size: int) -> ShardIndex:
        """Returns the index."""
        texts = dict(
            class_names=json.dumps(self._class_names, sort_keys=True).encode(),
            keys=b''.join(self._values['keys']),
        )
        arrays = {name: np.frombuffer(text, 'u1') for name, text in texts.items()}
        for name in _ARRAYS.keys() - texts.keys():
            arrays[name] = np.array(self._values[name], _ARRAYS[name])
        return ShardIndex(tar_size, tuple(self._codes), arrays)


def _find_media(members: list[Member]) -> tuple[str, list[Member]]:
    """Finds the kind of a sample, and its members of that kind."""
    numbered = [(int(m[1]), member) for member in members if (m := _FRAME.fullmatch(member[0]))]
    if numbered:
        return 'frames', [member for _, member in sorted(numbered)]
    for kind, extensions in (('video', _VIDEO_EXTENSIONS), ('image', _IMAGE_EXTENSIONS)):
        media = [member for member in members if member.extension in extensions]
        if media:
            return kind, media[:1]
    return 'other', []


def build_index(shard: str, name: str = '') -> ShardIndex:
    """Makes the index of a tar file from its headers, `.json` and `.cls` members; messages call it `name`."""
    builder = IndexBuilder()
    try:
        with open(shard, 'rb') as file:
            # As in all readers of the layout, a sample ends where the key changes.
            for key, group in groupby(_members(file), key=lambda named: named[0]):
                members = [member for _, member in group]
                if len({member.extension for member in members}) < len(members):
                    raise ValueError(f'the sample {key!r} has two files with the same extension')
                builder.add(key, members, _read_notes(file.fileno(), members))
            return builder.build(os.fstat(file.fileno()).st_size)
    except (OSError, tarfile.TarError, ValueError) as error:
        raise DataError(
            f"Can't read the shard {name or shard!r}: {error}. A shard is a tar file that isn't compressed."
        ) from error


def _members(file: BinaryIO) -> Iterator[tuple[str, Member]]:
    """Yields the key and the position of each file in a tar file."""
    with tarfile.open(fileobj=file, mode='r:') as tar:
        while info := tar.next():
            tar.members = []  # type: ignore[attr-defined]  # else it keeps them all
            key, extension = split_name(info.name)
            if info.isreg() and key and not re.match('__[^/]*__(/|$)', info.name):
                yield key, Member(extension, info.offset_data, info.size)
        # tarfile takes a damaged header for the end of the archive, which is marked by zeros.
        if os.pread(file.fileno(), tarfile.BLOCKSIZE, tar.offset).strip(b'\0'):
            raise ValueError(f'it is damaged at byte {tar.offset}')


def split_name(name: str) -> tuple[str, str]:
    """Splits the name of a member into key and extension; both are empty if it is not part of a sample.

    Example:
        >>> split_name('ant/7.0003.JPG')
        ('ant/7', '0003.jpg')
    """
    folder, slash, file = name.rpartition('/')
    stem, dot, extension = file.partition('.')
    return (folder + slash + stem, extension.lower()) if stem and dot else ('', '')


def _read_notes(descriptor: int, members: list[Member]) -> dict[str, Any]:
    """Reads a sample's `.json` and `.cls`; invalid ones count as empty."""
    notes: dict[str, Any] = {}
    for extension, offset, size in members:
        if extension in ('cls', 'json') and size <= _LONGEST_NOTE:
            with suppress(ValueError):
                content = json.loads(os.pread(descriptor, size, offset))
                notes |= content if isinstance(content, dict) else dict(label=content)
    return notes
