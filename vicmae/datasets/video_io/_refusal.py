# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from contextlib import contextmanager


class Refusal(Exception):
    """Why a library doesn't read a file, or some of its frames: part of a sentence for a `DataError`."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turns whatever a library raises inside into a `Refusal`; nothing else belongs inside."""
    try:
        yield
    # Libraries around FFmpeg raise classes of their own, some of which inherit from Exception alone.
    except Exception as error:
        raise Refusal(first_line(error)) from error


def first_line(error: Exception) -> str:
    """The line of a library's message that says something to a user."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip('.') if lines else type(error).__name__


def some(ids: list[int]) -> str:
    """Writes numbers, not more than a few of them."""
    return str(ids) if len(ids) <= 8 else f'[{", ".join(map(str, ids[:8]))}, ...]'
