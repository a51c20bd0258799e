# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

# What libraries put in front of a message: time, function, line of their source, number of the error.
_PREFIX = re.compile(r'^(\[[\d:]+\] |\S+\.(cc|cpp):\d+[:,] |\w+, (?=/)|\[Errno -?\d+\] )+')


class Refusal(Exception):
    """Why a library doesn't read a file or some of its frames: part of a sentence for a `DataError`."""


class Damage(Refusal):
    """Frames that don't decode soundly, which another library would only show without noticing."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turns whatever a library raises inside into a `Refusal`: put nothing else inside."""
    try:
        yield
    # Libraries around FFmpeg raise classes of their own, some of which inherit from Exception alone.
    except Exception as error:
        raise Refusal(first_line(error)) from error


def first_line(error: Exception) -> str:
    """What a library's message says in its first line, the rest of which is for its developers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _PREFIX.sub('', lines[0]).rstrip('.') if lines else type(error).__name__


def some(ids: Sequence[int]) -> str:
    """Writes numbers of frames, the first ones of many."""
    shown = ', '.join(map(str, ids[:8]))
    return f'[{shown}, ...]' if len(ids) > 8 else f'[{shown}]'
