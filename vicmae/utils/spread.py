# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_T = TypeVar('_T')


def pick_evenly(items: Sequence[_T], count: int) -> list[_T]:
    """Picks at most so many evenly spread items: of a list sorted by class, from different classes."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]
