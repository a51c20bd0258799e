# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# The prefix of a library's message: time, function, source line, error number.
_PREFIX = re.compile(r'^(\[[\d:]+\] |\S+\.(cc|cpp):\d+[:,] |\w+, (?=/)|\[Errno -?\d+\] )+')


class Refusal(Exception):
    """A library can't read a file or some of its frames. The message becomes part of a `DataError`."""


class Damage(Refusal):
    """Frames are damaged, which other libraries may not detect."""


@contextmanager
def refusals() -> Iterator[None]:
    """Converts any error of a library to a `Refusal`. Call only the library inside."""
    try:
        yield
    except Exception as error:  # some libraries raise classes that derive from Exception only
        raise Refusal(first_line(error)) from error


def first_line(error: Exception) -> str:
    """Returns the first line of a library's message; the others are for its developers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _PREFIX.sub('', lines[0]).rstrip('.') if lines else type(error).__name__


def some(ids: Sequence[int]) -> str:
    """Lists frame numbers, at most eight."""
    shown = ', '.join(map(str, ids[:8]))
    return f'[{shown}, ...]' if len(ids) > 8 else f'[{shown}]'
