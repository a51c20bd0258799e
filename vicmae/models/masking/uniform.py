# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Draws random numbers that depend only on a sample's seed, not on batch or device. B batch."""

import torch
from torch import Tensor

# SplitMix64 (Steele, Lea, Flood, 2014): a counter grows by the golden ratio, and its values are mixed.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
_SHIFTS = (30, 27)
_LAST_SHIFT = 31
_DIGITS = 24  # bits of a float32


def uniform(
    batch_size: int, count: int, device: torch.device, seeds: Tensor | None = None, stream: int = 0
) -> Tensor:
    """Draws numbers in [0, 1) for each sample of a batch, (B, count). Each `stream` has different numbers.

    With `seeds`, int64 (B,), they are the same on every device and in every batch. Otherwise they are drawn by
    PyTorch's generator.
    """
    if seeds is None:
        return torch.rand(batch_size, count, device=device)
    numbers = torch.arange(count, device=seeds.device) + (stream << 32)
    mixed = _mix(_mix(seeds).unsqueeze(1) + (numbers + 1) * _GOLDEN)  # int64 wraps around
    return _shift(mixed, 64 - _DIGITS).float() / 2**_DIGITS


def seeds_of_views(seeds: Tensor | None, num_views: int) -> Tensor | None:
    """Derives a seed for each view of a sample: (B,) -> (V*B,), the first view's samples first."""
    if seeds is None:
        return None
    return torch.cat([seeds + view for view in range(num_views)])


def _mix(values: Tensor) -> Tensor:
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=True):
        values = (values ^ _shift(values, shift)) * factor
    return values ^ _shift(values, _LAST_SHIFT)


def _shift(values: Tensor, by: int) -> Tensor:
    """Shifts to the right and fills with zeros, as for unsigned integers."""
    return (values >> by) & ((1 << (64 - by)) - 1)
