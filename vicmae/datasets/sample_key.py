# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Keys of samples, which determine their random choices."""

from typing import NamedTuple

import numpy as np

# The stream of random numbers. Samplers have other streams.
_STREAM = 1


class SampleKey(NamedTuple):
    """A visit to a sample, with the same random choices on any number of workers and ranks."""

    seed: int  # of the run
    epoch: int
    index: int  # type: ignore[assignment]  # position in the data set; shadows tuple.index
    visit: int = 0  # number of earlier visits to the sample in the epoch

    def generator(self) -> np.random.Generator:
        """Makes the generator for all random choices of this visit."""
        return np.random.default_rng([*self, _STREAM])


def as_sample_key(key: 'SampleKey | int') -> SampleKey:
    """Converts an index, from another sampler, to a key with a seed from NumPy's global state."""
    if isinstance(key, SampleKey):
        return key
    return SampleKey(int(np.random.randint(2**31)), 0, int(key))
