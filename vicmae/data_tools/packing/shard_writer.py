# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Writes what `vicmae.io.shards.index` describes."""

import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from vicmae.io.shards.index import IndexBuilder, Member, index_path, split_name, write_index
from vicmae.utils.files import whole_file

_NOTES = 'json'


class ShardWriter:
    """A shard that is being written; `write_shard` opens it."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._keys: set[str] = set()
        self.index = IndexBuilder()

    @property
    def num_bytes(self) -> int:
        return self._tar.offset

    def __len__(self) -> int:
        return len(self.index)

    def add(
        self, key: str, members: Mapping[str, bytes], info: Mapping[str, Any] | None = None
    ) -> None:
        """Adds a sample: files by extension (`jpg`, `0000.jpg`), and what is known of it, for its `.json` file."""
        if key in self._keys:
            raise ValueError(f'The shard has a sample {key!r} already. Give each its own key.')
        if split_name(f'{key}.{_NOTES}') != (key, _NOTES) or key.startswith(('/', '__')):
            raise ValueError(
                f'{key!r} is no key of a sample: it must not be empty, begin with a slash or two underscores, '
                'or have a dot in its last part.'
            )
        files = dict(members)
        if info is not None:
            files[_NOTES] = json.dumps(info, ensure_ascii=False).encode()
        placed = [self._write(key, extension, content) for extension, content in files.items()]
        self._keys.add(key)
        self.index.add(key, placed, info or {})

    def _write(self, key: str, extension: str, content: bytes) -> Member:
        if extension != extension.lower():  # readers take it for the same as its lower case
            raise ValueError(f'The extension {extension!r} must be in lower case.')
        entry = tarfile.TarInfo(f'{key}.{extension}')
        entry.size = len(content)
        self._tar.addfile(entry, io.BytesIO(content))
        padded = len(content) + -len(content) % tarfile.BLOCKSIZE
        return Member(extension, self._tar.offset - padded, len(content))


@contextmanager
def write_shard(path: str) -> Iterator[ShardWriter]:
    """Writes a shard and its index.

    They get their names at the end of the `with` block, the index first: a shard that is there is complete and has
    one. An error in the block leaves neither. The same samples give the same bytes.

    Args:
        path: Of the shard: 'train-000000.tar'.

    Example:
        >>> with write_shard('train-000000.tar') as shard:  # doctest: +SKIP
        ...     shard.add('ant/0007', {'jpg': encoded}, dict(label=0, class_name='ant'))
    """
    with whole_file(path) as file:
        with tarfile.open(fileobj=file, mode='w', format=tarfile.GNU_FORMAT) as tar:
            shard = ShardWriter(tar)
            yield shard
        file.flush()
        write_index(shard.index.build(os.fstat(file.fileno()).st_size), index_path(path))


def frame_members(frames: Sequence[bytes], extension: str = 'jpg') -> dict[str, bytes]:
    """Names the frames of a video as members of a sample.

    Args:
        frames: Encoded images, in order.
        extension: What kind of images.

    Example:
        >>> frame_members([b'first', b'second'])
        {'0000.jpg': b'first', '0001.jpg': b'second'}
    """
    return {f'{number:04d}.{extension}': frame for number, frame in enumerate(frames)}
