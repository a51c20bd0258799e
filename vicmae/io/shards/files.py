# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Finds shards and their indexes, and downloads remote ones."""

import glob
import hashlib
import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from vicmae.errors import DataError
from vicmae.utils.files import locked, whole_file
from vicmae.utils.log import say

from .index import IndexSummary, build_index, index_path, read_summary, write_index
from .remote import fetch, is_url, look_up

_NUM_THREADS = 16  # most of the time they wait for servers and file systems


class ShardFile(NamedTuple):
    """A shard and the place from which it is read."""

    name: str  # as the user wrote it
    place: str  # path of the tar file, or a URL whose server supports range requests
    index_file: str
    summary: IndexSummary


def open_shards(shards: str | Sequence[str], cache_dir: str = '') -> list[ShardFile]:
    """Finds shards and their indexes. Downloads go to `cache_dir`, by default `~/.cache/vicmae/shards`."""
    names = find_shards(shards)
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return list(pool.map(partial(_open_shard, cache=_Cache(cache_dir)), names))


def find_shards(shards: str | Sequence[str]) -> list[str]:
    """Lists the shards of folders, paths and URLs, which may have braces (`{000..099}`, `{a,b}`) or wildcards."""
    from braceexpand import braceexpand

    names: list[str] = []
    for pattern in [shards] if isinstance(shards, str) else shards:
        try:
            expanded = [pattern] if os.path.exists(pattern) else list(braceexpand(pattern))
        except ValueError as error:
            raise DataError(f'`shards` has unbalanced braces: {pattern!r}.') from error
        names += [name for part in expanded for name in _matches(part)]
    if not names:
        raise DataError('`shards` is empty. Give a folder, a pattern, a URL, or several.')
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f'`shards` names {len(repeated)} shards more than once, such as {repeated[0]!r}.'
        )
    return names


def _matches(pattern: str) -> list[str]:
    if pattern.startswith('file://'):
        pattern = url2pathname(urlsplit(pattern).path)
    if is_url(pattern) or os.path.isfile(pattern):
        return [pattern]
    if os.path.isdir(pattern):
        pattern = os.path.join(glob.escape(pattern), '*.tar')
    paths = sorted(name for name in glob.glob(pattern) if name.endswith('.tar'))
    if not paths:
        raise DataError(
            f'No shards match {pattern!r}. Give a folder of .tar files, a pattern such as '
            "'train-*.tar' or 'train-{000..099}.tar', or a URL; relative paths start at the working directory."
        )
    return paths


def _open_shard(name: str, cache: '_Cache') -> ShardFile:
    try:
        if not is_url(name):
            return _checked(name, name, cache.made_index(name), os.stat(name).st_size)
        remote = look_up(name)
        if remote.size and remote.gives_parts:
            index = cache.fetched_index(name, remote.version)
            if index is not None:
                return _checked(name, name, index, remote.size)
        place = cache.fetched_shard(name, remote.version)
        return _checked(name, place, index_path(place), os.stat(place).st_size)
    except FileNotFoundError as error:
        raise DataError(f'There is no shard {error}.') from error
    except OSError as error:
        raise DataError(f"Can't open the shard {name!r}: {error}.") from error


def _checked(name: str, place: str, index: str, size: int) -> ShardFile:
    summary = read_summary(index)
    if summary.tar_size != size:
        if is_url(place):
            os.unlink(index)
        raise DataError(
            f'The index {index_url(name) if is_url(place) else index!r} belongs to a shard of {summary.tar_size} '
            f'bytes, but {name!r} has {size}: one of them was replaced or is truncated. If the shard is right, '
            'delete the index.'
        )
    return ShardFile(name, place, index, summary)


def index_url(url: str) -> str:
    """Returns the URL of a shard's index: that of the shard with another file name, and the same query."""
    parts = urlsplit(url)
    return parts._replace(path=index_path(parts.path)).geturl()


class _Cache:
    """A folder of files, each downloaded or made by one process of a machine for all of them."""

    def __init__(self, folder: str = '') -> None:
        base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
        self.folder = folder or os.path.join(base, 'vicmae', 'shards')

    def fetched_shard(self, url: str, version: str) -> str:
        """Downloads a shard and makes its index. Older versions are kept, as another run may be reading them."""
        copy = self._path_for(url, version)

        def make(path: str) -> None:
            say(f'Downloading {url!r} to {self.folder!r}.')
            fetch(url, path)
            write_index(build_index(path, name=url), index_path(copy))

        return self._made_once(copy, make)

    def fetched_index(self, url: str, version: str) -> str | None:
        """Downloads the index of a shard, or returns None if there is none."""

        def make(path: str) -> None:
            fetch(index_url(url), path)
            read_summary(path)

        try:
            return self._made_once(index_path(self._path_for(url, version)), make)
        except FileNotFoundError:
            return None

    def made_index(self, shard: str) -> str:
        """Makes the index of a local shard if it has none: next to it, or in the cache if its folder isn't writable."""

        def make(path: str) -> None:
            say(f'Making the index of {shard!r}. Later runs use it.')
            write_index(build_index(shard), path)

        if os.path.exists(index_path(shard)):
            return index_path(shard)
        try:
            return self._made_once(index_path(shard), make)
        except OSError:
            stat = os.stat(shard)
            version = f'{stat.st_size} {stat.st_mtime_ns}'
            copy = self._path_for(os.path.abspath(shard), version)
            return self._made_once(index_path(copy), make)

    def _path_for(self, name: str, version: str) -> str:
        readable = re.sub(r'[^\w.-]', '_', name)[-60:]
        return os.path.join(self.folder, f'{_digest(name + version)}-{readable}')

    def _made_once(self, path: str, make: Callable[[str], None]) -> str:
        """Makes a file in one process of this machine. Other machines may make it at the same time."""
        lock_file = os.path.join(self.folder, f'{_digest(os.path.abspath(path))}.lock')
        with ExitStack() as stack:
            try:
                os.makedirs(self.folder, exist_ok=True)
                stack.enter_context(locked(lock_file))
            except OSError as error:
                raise DataError(
                    f"Can't write to {self.folder!r}: {error.strerror}. Set `cache_dir` to another folder."
                ) from error
            if not os.path.exists(path):
                own_path = f'{path}.{socket.gethostname()}'
                with whole_file(own_path) as file:
                    make(file.name)
                os.replace(own_path, path)
        return path


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
