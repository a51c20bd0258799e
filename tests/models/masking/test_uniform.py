# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Random numbers from a sample's seed: uniform, independent, and equal in any batch."""

import numpy as np
import pytest
import torch

from vicmae.models.masking import BlockMasking, FrameMasking, RandomMasking, seeds_of_views, uniform

CPU = torch.device('cpu')
_64_BITS = 2**64 - 1


def draw(seeds, count, stream=0):
    return uniform(len(seeds), count, CPU, torch.tensor(seeds), stream)


def mix(value):
    """SplitMix64's finaliser, written with Python's whole numbers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return value ^ (value >> 31)


@pytest.mark.parametrize('seed', [0, 1, 123456789, 2**63 - 1])
@pytest.mark.parametrize('stream', [0, 1])
def test_numbers_are_those_of_splitmix64(seed, stream):
    counters = [(stream << 32) + i + 1 for i in range(5)]
    expected = [
        (mix((mix(seed) + c * 0x9E3779B97F4A7C15) & _64_BITS) >> 40) / 2**24 for c in counters
    ]
    assert draw([seed], 5, stream)[0].tolist() == expected


def test_numbers_are_uniform_and_independent_of_each_other():
    numbers = draw(list(range(500)), 200).numpy()
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    expected = numbers.size / 20
    assert ((counts - expected) ** 2 / expected).sum() < 45  # chi-square of 19 degrees, p = 0.0007
    for other in (numbers[1:, :], numbers[:, 1:]):  # of the next sample, and of the same
        own = numbers[: len(other), : other.shape[1]]
        assert abs(np.corrcoef(own.ravel(), other.ravel())[0, 1]) < 0.015


def test_streams_and_views_of_a_sample_differ():
    seeds = torch.arange(100)
    views = seeds_of_views(seeds, 2)
    first, second = uniform(200, 50, CPU, views).chunk(2)
    other = uniform(100, 50, CPU, seeds, stream=1)
    for one, two in [(first, second), (first, other)]:
        assert abs(np.corrcoef(one.flatten(), two.flatten())[0, 1]) < 0.05
    assert seeds_of_views(None, 2) is None


@pytest.mark.parametrize('masking', [RandomMasking, BlockMasking, FrameMasking])
def test_masks_depend_only_on_seeds(masking):
    seeds = torch.randint(2**62, (6,), generator=torch.Generator().manual_seed(0))
    grid = (2, 4, 4)
    whole = masking(0.75)(6, grid, CPU, seeds)
    torch.manual_seed(1)
    parts = [masking(0.75)(3, grid, CPU, part) for part in seeds.chunk(2)]
    for ids, *ids_of_parts in zip(whole, *parts, strict=True):
        assert torch.equal(ids, torch.cat(ids_of_parts))
    assert len({tuple(row.sort().values.tolist()) for row in whole.ids_keep}) > 1


def test_masks_without_seeds_use_pytorchs_generator():
    torch.manual_seed(0)
    first = uniform(3, 4, CPU)
    assert not torch.equal(first, uniform(3, 4, CPU))
    torch.manual_seed(0)
    assert torch.equal(first, uniform(3, 4, CPU))
