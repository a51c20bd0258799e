# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reads files and parts of files by URL with `fsspec`, and detects changed versions."""

import os
import re
import shutil
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from vicmae.errors import DataError, EnvironmentFault

_TIMEOUT_SECONDS = 30
_TRIES = 6
_FIRST_PAUSE_SECONDS = 0.5  # twice as long before each further try
_MISSING = (403, 404, 410)  # object stores without list permission answer 403
_TRY_AGAIN = (None, 408, 429, 500, 502, 503, 504)
# Fields, as the file systems name them, that change with a file's content.
_VERSION = re.compile(
    'size|e-?tag|last[-_]?modified|mtime|updated|generation|created', re.IGNORECASE
)

_T = TypeVar('_T')
_file_systems: dict[tuple[int, str], Any] = {}


class Remote(NamedTuple):
    """A server's answer about a file."""

    size: int | None  # bytes
    version: str
    gives_parts: bool  # whether the server supports range requests


def is_url(place: str) -> bool:
    """Returns whether a text is a URL ('https://...', 's3://...', 'pipe:...') and not a path."""
    return re.match(r'pipe:|[A-Za-z][A-Za-z0-9+.-]*://', place) is not None


def look_up(url: str) -> Remote:
    """Queries a server about a file; raises FileNotFoundError if there is none."""
    if not _is_known(url):
        return Remote(None, '', False)
    info = _retry(url, lambda fs, path: fs.info(path))
    version = {name: info[name] for name in sorted(info) if _VERSION.fullmatch(name)}
    size = info.get('size')

    def read_second_byte(fs: Any, path: str) -> bool:
        # Unlike `cat_file`, this fails if the server sends the whole content.
        with fs.open(path, size=size, cache_type='none') as file:
            file.seek(1)
            try:
                return bool(file.read(1))
            except ValueError:
                return False

    web = url.startswith(('http://', 'https://'))
    gives_parts = (size or 0) > 1 and (not web or _retry(url, read_second_byte))
    return Remote(size, str(version), gives_parts)


def read_part(url: str, offset: int, size: int) -> bytes:
    """Reads `size` bytes of a file, at least one."""
    return _retry(url, lambda fs, path: fs.cat_file(path, offset, offset + size))


def fetch(url: str, path: str) -> None:
    """Downloads a file; raises FileNotFoundError if there is none."""
    if _is_known(url):
        _retry(url, lambda fs, source: fs.get_file(source, path))
        return
    from webdataset import gopen  # type: ignore[import-untyped]

    try:
        with gopen(url) as content, open(path, 'wb') as file:
            shutil.copyfileobj(content, file)
    except Exception as error:  # each scheme has its own exceptions
        raise DataError(f"Can't read {url!r}: {error}.") from error


def _is_known(url: str) -> bool:
    """Returns whether fsspec reads a URL. `webdataset` reads others: 'pipe:', 'scp:', 'ais://'."""
    import fsspec  # type: ignore[import-untyped]

    protocol, slashes, _ = url.partition('://')
    return bool(slashes) and protocol in {*fsspec.available_protocols(), *fsspec.registry}


def _file_system(url: str) -> Any:
    """Returns the file system of a URL in this process.

    Those inherited by a fork stay open: closing their connections would disturb the parent's event loop.
    """
    import fsspec

    protocol = url.partition('://')[0]
    key = os.getpid(), protocol
    if key not in _file_systems:
        options = _web_options() if protocol in ('http', 'https') else {}
        try:
            _file_systems[key] = fsspec.filesystem(protocol, skip_instance_cache=True, **options)
        except ImportError as error:  # the message names the package
            raise EnvironmentFault(f"Can't read {url!r}: {error}, with `pip install`.") from error
    return _file_systems[key]


def _web_options() -> dict[str, Any]:
    from aiohttp import ClientTimeout

    # By default, aiohttp stops a download after five minutes, ignores proxies and requests compression.
    timeout = ClientTimeout(total=None, sock_connect=_TIMEOUT_SECONDS, sock_read=_TIMEOUT_SECONDS)
    headers = {'Accept-Encoding': 'identity'}
    return dict(client_kwargs=dict(timeout=timeout, trust_env=True, headers=headers))


def _retry(url: str, action: Callable[[Any, str], _T]) -> _T:
    """Repeats an action if a server is busy or a connection breaks."""
    file_system, tries = _file_system(url), 0
    while True:
        try:
            return action(file_system, file_system._strip_protocol(url))
        except Exception as error:  # each file system has its own exceptions
            # Over http, fsspec raises FileNotFoundError for any failure.
            cause = error.__cause__ or error
            status = getattr(cause, 'status', None)
            if isinstance(cause, FileNotFoundError | PermissionError) or status in _MISSING:
                reason = 'not found' if isinstance(cause, FileNotFoundError) else cause
                raise FileNotFoundError(f'{url!r}: {reason}') from error
            tries += 1
            from_network = isinstance(cause, ConnectionError | TimeoutError)
            from_network |= type(cause).__module__.startswith('aiohttp')
            if tries == _TRIES or not from_network or status not in _TRY_AGAIN:
                raise DataError(f"Can't read {url!r}: {cause} (tries: {tries}).") from error
        time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (tries - 1))
