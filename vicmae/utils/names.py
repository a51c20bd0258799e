# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Names and numbers in messages."""

from collections.abc import Sequence


def name_some(names: Sequence[str], most: int = 4) -> str:
    """Names the first of some names and counts the rest: 'a, b and 3 more'."""
    rest = len(names) - most
    return ', '.join(names[:most]) + (f' and {rest} more' if rest > 0 else '')


def count_of(number: int, one: str, several: str = '') -> str:
    """Returns a number with its noun: '1 process', '1,200 samples'."""
    return f'{number:,} {one if number == 1 else several or one + "s"}'
