# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The key of a sample, which determines its random choices."""

from typing import NamedTuple

import numpy as np

# The samplers have other streams.
_STREAM = 1


class SampleKey(NamedTuple):
    """One visit to one sample, the same on any number of workers or ranks."""

    seed: int  # of the run
    epoch: int
    index: int  # type: ignore[assignment]  # position in the data set; shadows tuple.index
    visit: int = 0  # number of the visit to the sample in the epoch

    def generator(self) -> np.random.Generator:
        """Makes the generator of all random choices about this visit."""
        return np.random.default_rng([*self, _STREAM])


def as_sample_key(key: 'SampleKey | int') -> SampleKey:
    """Converts an index of another sampler to a key, with a seed from NumPy's global state."""
    if isinstance(key, SampleKey):
        return key
    return SampleKey(int(np.random.randint(2**31)), 0, int(key))
