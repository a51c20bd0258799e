# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Finds shards, their indexes, and fetches what can't be read where it is."""

import fcntl
import glob
import hashlib
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from vicmae.errors import DataError
from vicmae.utils.log import say

from .index import (
    IndexSummary,
    ShardIndex,
    build_index,
    index_path,
    read_summary,
    whole_file,
    write_index,
)
from .remote import fetch, is_http, is_url, read_part, version_of

_NUM_THREADS = 16  # they wait for servers and file systems
_BLOCK = 512


class ShardFile(NamedTuple):
    """A shard, and where it is read.

    Attributes:
        name: As the user wrote it.
        place: Path of the tar file, or a URL that gives parts of it.
        index_file: Path of its index.
        summary: What the index says at its beginning.
    """

    name: str
    place: str
    index_file: str
    summary: IndexSummary


def open_shards(shards: str | Sequence[str], cache_dir: str = '') -> list[ShardFile]:
    """Finds shards and their indexes.

    Args:
        shards: A folder, a path or URL, which may be a pattern, or several of these.
        cache_dir: Where fetched files go; below `~/.cache` if empty.
    """
    names = find_shards(shards)
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return list(pool.map(partial(_open_shard, cache=_Cache(cache_dir)), names))


def find_shards(shards: str | Sequence[str]) -> list[str]:
    """Names shards one by one.

    Args:
        shards: A folder; a path or URL, in which braces stand for several (`{000..099}`, `{a,b}`), as stars do in
            a path; or several of these.
    """
    from braceexpand import braceexpand

    names: list[str] = []
    for pattern in [shards] if isinstance(shards, str) else shards:
        try:
            expanded = [pattern] if os.path.exists(pattern) else list(braceexpand(pattern))
        except ValueError as error:
            raise DataError(f'`shards` has braces that do not match: {pattern!r}.') from error
        names += [name for part in expanded for name in _matches(part)]
    if not names:
        raise DataError('`shards` names no shards. Give a folder, a pattern, a URL, or several.')
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f'`shards` names {len(twice)} shards more than once, such as {twice[0]!r}.')
    return names


def _matches(pattern: str) -> list[str]:
    if pattern.startswith('file://'):
        pattern = url2pathname(urlsplit(pattern).path)
    if is_url(pattern) or os.path.isfile(pattern):
        return [pattern]
    if os.path.isdir(pattern):
        pattern = os.path.join(glob.escape(pattern), '*.tar')
    found = sorted(name for name in glob.glob(pattern) if name.endswith('.tar'))
    if not found:
        raise DataError(
            f'There are no shards {pattern!r}. Give a folder of .tar files, a pattern such as '
            "'train-*.tar' or 'train-{000..099}.tar', or a URL; paths are relative to where the command is run."
        )
    return found


def _open_shard(name: str, cache: '_Cache') -> ShardFile:
    try:
        if is_http(name) and (shard := _open_by_parts(name, cache)):
            return shard
        place = cache.fetched_shard(name) if is_url(name) else name
    except FileNotFoundError as error:
        raise DataError(f'There is no shard {error}.') from error
    size = os.stat(place).st_size
    index = index_path(place)
    if not os.path.exists(index):
        index = cache.made_index(place)
    summary = read_summary(index)
    if summary.tar_size != size:
        raise DataError(_stale(index, name, summary.tar_size, size))
    return ShardFile(name, place, index, summary)


def _open_by_parts(url: str, cache: '_Cache') -> ShardFile | None:
    """None where the server gives no parts of files, or has no index of the shard."""
    part = read_part(url, 0, _BLOCK)
    index = part and cache.fetched_index(url, part.file_size)
    if not part or not index:
        return None
    summary = read_summary(index)
    if summary.tar_size != part.file_size:
        os.unlink(index)
        raise DataError(_stale(index_url(url), url, summary.tar_size, part.file_size))
    return ShardFile(url, url, index, summary)


def index_url(url: str) -> str:
    """Where the index of a shard lies on a server: beside it, with the same query."""
    parts = urlsplit(url)
    return parts._replace(path=index_path(parts.path)).geturl()


def _stale(index: str, shard: str, expected: int, size: int) -> str:
    return (
        f'The index {index!r} belongs to a shard of {expected} bytes, but {shard!r} has {size}: one of them was '
        'replaced or is cut off. If the shard is right, delete the index.'
    )


class _Cache:
    """A folder for what is fetched or made once for all processes of a machine.

    Args:
        folder: The folder; below `~/.cache` if empty.
    """

    def __init__(self, folder: str = '') -> None:
        base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
        self.folder = folder or os.path.join(base, 'vicmae', 'shards')

    def fetched_shard(self, url: str) -> str:
        """A copy of a shard, with its index; another one once the server has another version.

        The older one stays: a run may be reading it.
        """
        version = version_of(url) if is_http(url) else ()
        path = self._path_for(url, *map(str, version))
        with self._locked(path):
            if not os.path.exists(path):
                say(f'Fetching {url!r} to {self.folder!r}.')
                try:
                    with whole_file(path) as file:
                        fetch(url, file)
                        file.flush()
                        write_index(build_index(file.name, name=url), index_path(path))
                except OSError as error:
                    raise DataError(f"Can't fetch the shard {url!r}: {error}.") from error
        return path

    def fetched_index(self, url: str, tar_size: int) -> str | None:
        """A copy of the index that lies beside a shard, None where there is none."""
        path = index_path(self._path_for(url, tar_size))
        with self._locked(path):
            if not os.path.exists(path):
                try:
                    with whole_file(path) as file:
                        fetch(index_url(url), file)
                        file.flush()
                        read_summary(file.name)
                except FileNotFoundError:
                    return None
        return path

    def made_index(self, shard: str) -> str:
        """The index of a shard that has none: beside it, or here where that can't be written."""
        stat = os.stat(shard)
        here = index_path(self._path_for(os.path.abspath(shard), stat.st_size, stat.st_mtime_ns))
        with self._locked(shard):
            for path in (index_path(shard), here):
                if os.path.exists(path):  # by now
                    return path
            say(f'Making the index of {shard!r}, once.')
            index = build_index(shard)
            try:
                _write_index_at_once(index, index_path(shard))
                return index_path(shard)
            except OSError:
                _write_index_at_once(index, here)
                return here

    def _path_for(self, *names: str | int) -> str:
        digest = hashlib.sha256('\n'.join(map(str, names)).encode()).hexdigest()[:16]
        readable = re.sub(r'[^\w.-]', '_', str(names[0]))[-60:]
        return os.path.join(self.folder, f'{digest}-{readable}')

    @contextmanager
    def _locked(self, path: str) -> Iterator[None]:
        """Keeps other processes of this machine from making the same file."""
        digest = hashlib.sha256(os.path.abspath(path).encode()).hexdigest()[:16]
        try:
            os.makedirs(self.folder, exist_ok=True)
            lock = open(os.path.join(self.folder, f'{digest}.lock'), 'a')  # noqa: SIM115
        except OSError as error:
            raise DataError(
                f"Can't write to {self.folder!r}: {error.strerror}. Give another folder as `cache_dir`."
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _write_index_at_once(index: ShardIndex, path: str) -> None:
    """Writes an index that another machine may be writing too."""
    own = f'{path}.{socket.gethostname()}'
    write_index(index, own)
    os.replace(own, path)
