# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Writes files atomically, and locks them."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from vicmae.errors import ConfigError


@contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that replaces `path` when it is complete, and is removed on an error.

    If the process is killed or the machine loses power, an older file of that name is unchanged.
    """
    unfinished = f'{path}.unfinished'
    try:
        with open(unfinished, 'w+b') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        _settle(os.path.dirname(path) or '.')
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)
        raise


@contextmanager
def locked(lock_file: str | Path, when_busy: Callable[[], Any] = lambda: None) -> Iterator[None]:
    """Holds a lock among the processes of a machine. It is released when this process ends.

    If another process holds it, calls `when_busy`, which may raise an error, and waits.
    """
    from filelock import FileLock, Timeout  # `vicmae --help` works without it

    lock = FileLock(lock_file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        when_busy()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def why_unwritten(error: Exception) -> str:
    """Returns the reason of a failed write, without the errors that PyTorch's writer wraps around it."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    lines = str(error).splitlines() or [type(error).__name__]
    return getattr(error, 'strerror', None) or lines[0]


def require_folder(path: Path, option: str) -> None:
    """Makes a writable folder. If that fails, the error names the option."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError(
            f"Can't write to `{option}` {str(path)!r}: {error.strerror}. Choose another folder."
        ) from error


def _settle(folder: str) -> None:
    """Writes a folder's entries to disk (fsync), if the file system supports that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def shorten_path(word: str) -> str:
    """Returns a path relative to this folder if that is shorter."""
    path = Path(word)
    if not path.is_absolute():
        return word
    return min(word, os.path.relpath(word), key=len)
