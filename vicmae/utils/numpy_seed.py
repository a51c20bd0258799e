# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""NumPy's global random numbers on a lead, for parts of others that draw from nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded_numpy(seed: int) -> Iterator[None]:
    """Lets what is drawn from NumPy's global state follow from a seed, and puts the state back at the end."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
