# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The key of a sample, which determines its random choices."""

from typing import NamedTuple

import numpy as np

# The samplers have other streams.
_STREAM = 1


class SampleKey(NamedTuple):
    """One visit to one sample, the same on any number of workers or ranks.

    Attributes:
        seed: The run's seed.
        epoch: The epoch of the visit.
        index: The sample's position in the data set.
        visit: Number of the visit to the sample in the epoch, from 0 on.
    """

    seed: int
    epoch: int
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody needs here
    visit: int = 0

    def generator(self) -> np.random.Generator:
        """The source of every random choice about this visit."""
        return np.random.default_rng([*self, _STREAM])


def as_sample_key(key: 'SampleKey | int') -> SampleKey:
    """Converts an index, as other samplers give it, to a key, with a seed of NumPy's global state each time."""
    if isinstance(key, SampleKey):
        return key
    return SampleKey(int(np.random.randint(2**31)), 0, int(key))
