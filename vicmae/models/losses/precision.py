# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Computes losses in full precision."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import reduce

import torch
from torch import Tensor


@contextmanager
def full_precision(*tensors: Tensor) -> Iterator[list[Tensor]]:
    """Converts tensors to float32, or float64 if one of them has it, and disables autocast.

    A loss subtracts nearly equal values, which half precision rounds to zero, and sums squares, which overflow.
    Gradients have the dtype of each tensor.

    Example:
        >>> half = torch.full((4,), 300.0, dtype=torch.float16)
        >>> with full_precision(half, half) as (a, b):
        ...     print((a * b).sum().item())  # float16 ends at 65504
        360000.0
    """
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    device = tensors[0].device.type
    # The meta device, on which FLOPs are counted, has no autocast.
    has_autocast = torch.amp.is_autocast_available(device)
    with torch.autocast(device, enabled=False) if has_autocast else nullcontext():
        yield [tensor.to(dtype) for tensor in tensors]
