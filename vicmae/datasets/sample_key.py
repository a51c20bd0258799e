# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""One seed, one sample: what a sample's random choices follow from."""

from typing import NamedTuple

import numpy as np

# Kept apart from the streams of the sampler, which has others at the end.
_STREAM = 1


class SampleKey(NamedTuple):
    """Names one visit to one sample, the same on any number of workers or ranks.

    Attributes:
        seed: The run's seed.
        epoch: The epoch of the visit.
        index: The sample's position in the data set.
        visit: Which of an epoch's visits to the sample it is, from 0 on.
    """

    seed: int
    epoch: int
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody needs here
    visit: int = 0

    def generator(self) -> np.random.Generator:
        """The source of every random choice about this visit."""
        return np.random.default_rng([*self, _STREAM])


def as_sample_key(key: 'SampleKey | int') -> SampleKey:
    """Takes a bare index too, as other samplers give it: a new seed each time, from NumPy's global state."""
    if isinstance(key, SampleKey):
        return key
    return SampleKey(int(np.random.randint(2**31)), 0, int(key))
