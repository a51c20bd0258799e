# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Names and numbers in messages."""

from collections.abc import Sequence
from pathlib import PurePath


def name_some(names: Sequence[str], most: int = 4) -> str:
    """Names the first of some names and counts the rest: 'a, b and 3 more'."""
    rest = len(names) - most
    return ', '.join(names[:most]) + (f' and {rest} more' if rest > 0 else '')


def count_of(number: int, one: str, several: str = '') -> str:
    """Returns a number with its noun: '1 process', '1,200 samples'."""
    return f'{number:,} {one if number == 1 else several or one + "s"}'


def distinct_names(paths: Sequence[str]) -> list[str]:
    """Names files as shortly as tells them apart: `a/epoch_1.pth` and `b/epoch_1.pth` with their folders.

    A path that is given several times gets a number.
    """
    parts = [PurePath(path).parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ['/'.join(each[-depth:]) for each in parts]
        if len(set(names)) == len(set(paths)):
            break
    return [
        name if names.count(name) == 1 else f'{name} ({names[: number + 1].count(name)})'
        for number, name in enumerate(names)
    ]
