# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Random numbers that follow from a sample, wherever and beside whichever others it is computed. B batch."""

import torch
from torch import Tensor

# SplitMix64 (Steele, Lea, Flood, 2014): a counter goes up by the golden ratio, and each of its values is mixed.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
_SHIFTS = (30, 27)
_LAST_SHIFT = 31
_DIGITS = 24  # of a float32


def uniform(
    batch_size: int,
    count: int,
    device: torch.device,
    seeds: Tensor | None = None,
    stream: int = 0,
) -> Tensor:
    """Draws numbers in [0, 1) for each sample of a batch.

    Args:
        batch_size: Number of samples.
        count: How many numbers each gets.
        device: Where they are drawn.
        seeds: An int64 for each sample, (B,), from which its numbers follow: the same on every device, in every batch.
            Without them PyTorch's generator draws.
        stream: Which numbers of a sample these are, where it needs several kinds.

    Shape:
        () -> (B, count)
    """
    if seeds is None:
        return torch.rand(batch_size, count, device=device)
    numbers = torch.arange(count, device=seeds.device) + (stream << 32)
    mixed = _mix(_mix(seeds).unsqueeze(1) + (numbers + 1) * _GOLDEN)  # int64 wraps around
    return _shift(mixed, 64 - _DIGITS).float() / 2**_DIGITS


def seeds_of_views(seeds: Tensor | None, num_views: int) -> Tensor | None:
    """Gives each view of a sample a seed of its own: (B,) -> (V*B,), view 1's samples first."""
    if seeds is None:
        return None
    return torch.cat([seeds + view for view in range(num_views)])


def _mix(values: Tensor) -> Tensor:
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=True):
        values = (values ^ _shift(values, shift)) * factor
    return values ^ _shift(values, _LAST_SHIFT)


def _shift(values: Tensor, by: int) -> Tensor:
    """Shifts to the right and fills up with zeros, as for numbers without a sign."""
    return (values >> by) & ((1 << (64 - by)) - 1)
