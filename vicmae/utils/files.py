# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from vicmae.errors import ConfigError


@contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that gets its name when it is complete, and is removed on an error.

    One of that name stays as it was until then, also where the process is killed or the machine loses power.
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
    """Holds a lock among the processes of a machine, and waits for it where another one has it.

    Processes that are forked meanwhile don't have it: it is free once this one has ended, however that is.

    Args:
        lock_file: An empty file, which stays there.
        when_busy: Called before waiting. It may raise an error instead.
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
    """The reason in a few words, also where PyTorch's writer wraps it up."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    lines = str(error).splitlines() or [type(error).__name__]
    return getattr(error, 'strerror', None) or lines[0]


def require_folder(path: Path, option: str) -> None:
    """Makes a folder to write to, or says why it can't be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ConfigError(
            f"Can't write to `{option}` {str(path)!r}: {error.strerror}. Name another folder."
        ) from error


def _settle(folder: str) -> None:
    """Brings a folder's list of names to the disk; some file systems don't know of that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
