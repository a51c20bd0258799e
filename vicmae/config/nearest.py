# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Suggests names for misspelt ones."""

import difflib
from collections.abc import Iterable


def suggest(name: str, known: Iterable[str]) -> str:
    """Lists the most similar names, or all if there are few."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return f' Did you mean {" or ".join(near)}?'
    if known and len(known) <= 40:
        return f' Known here: {", ".join(known)}.'
    return ''
