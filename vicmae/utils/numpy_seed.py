# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Seeds NumPy's global state for foreign code that draws from it."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded_numpy(seed: int) -> Iterator[None]:
    """Seeds NumPy's global state, and restores it at the end."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
