# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Files that lie behind a URL: parts of them, and whole ones."""

import re
import shutil
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import BinaryIO, NamedTuple, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from vicmae.errors import DataError

_TIMEOUT_SECONDS = 30
_TRIES = 6
_FIRST_PAUSE_SECONDS = 0.5  # twice as long before each further try
_NOT_THERE = (403, 404, 410)  # stores that mustn't be listed answer 403
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)

_T = TypeVar('_T')


def is_url(place: str) -> bool:
    """Whether something is for `webdataset.gopen` to open: 'https://...', 'pipe:...'."""
    return re.match(r'pipe:|[A-Za-z][A-Za-z0-9+.-]*://', place) is not None


def is_http(url: str) -> bool:
    """Whether a URL is one that parts can be asked of."""
    return url.startswith(('http://', 'https://'))


class Part(NamedTuple):
    """A part of a file.

    Attributes:
        content: Its bytes.
        file_size: Of the whole file, in bytes.
    """

    content: bytes
    file_size: int


def read_part(url: str, offset: int, size: int) -> Part | None:
    """Reads a part of a file; None from a server that gives whole files only.

    Args:
        url: Of the file, http or https.
        offset: Where the part begins.
        size: Its length in bytes, at least one.
    """

    def read() -> Part | None:
        request = Request(url, headers={'Range': f'bytes={offset}-{offset + size - 1}'})
        with urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            total = re.fullmatch(r'bytes \d+-\d+/(\d+)', answer.headers.get('Content-Range', ''))
            if answer.status != 206 or not total:
                return None
            return Part(answer.read(), int(total[1]))

    return _patiently(read, url)


class Version(NamedTuple):
    """What a server says of a file that tells it from another one which had its URL before. None where it doesn't say.

    Attributes:
        size: In bytes.
        etag: Its name for this content.
        modified: When it was last changed.
    """

    size: str | None
    etag: str | None
    modified: str | None


def version_of(url: str) -> Version:
    """Asks which version of a file a server has.

    Args:
        url: Of the file, http or https.
    """

    def read() -> Version:
        # Not HEAD, which signed URLs don't allow; a server without parts is left before it sends the file.
        request = Request(url, headers={'Range': 'bytes=0-0'})
        with urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            headers = answer.headers
            total = headers.get('Content-Range', '').rpartition('/')[2]
            size = total or headers.get('Content-Length')
            return Version(size, headers.get('ETag'), headers.get('Last-Modified'))

    return _patiently(read, url)


def fetch(url: str, file: BinaryIO) -> None:
    """Writes a whole file into another.

    Args:
        url: http, https, or whatever else `webdataset.gopen` reads.
        file: Where it goes, empty.

    Raises:
        FileNotFoundError: A server says that there is none.
    """
    if is_http(url):
        _patiently(lambda: _copy_by_http(url, file), url)
        return
    from webdataset import gopen  # type: ignore[import-untyped]

    try:
        with gopen(url) as content:
            shutil.copyfileobj(content, file)
    except Exception as error:  # each scheme has its own
        raise DataError(f"Can't read {url!r}: {error}.") from error


def _copy_by_http(url: str, file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()  # what an earlier try left
    with urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
        shutil.copyfileobj(answer, file)
        expected = int(answer.headers.get('Content-Length', file.tell()))
    if file.tell() != expected:
        raise HTTPException(f'it broke off after {file.tell()} of {expected} bytes')


def _patiently(action: Callable[[], _T], url: str) -> _T:
    """Tries several times what may fail because a server is busy or a connection breaks."""
    tries = 0
    while True:
        try:
            return action()
        except (OSError, HTTPException) as error:
            tries += 1
            code = error.code if isinstance(error, HTTPError) else None
            if code in _NOT_THERE:
                raise FileNotFoundError(f'{url!r}: {error}') from error
            if tries == _TRIES or (code is not None and code not in _TRY_AGAIN):
                raise DataError(f"Can't read {url!r}: {error} (tries: {tries}).") from error
        time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (tries - 1))
