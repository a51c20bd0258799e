# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What every loss does with half precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce

import torch
from torch import Tensor


@contextmanager
def full_precision(*tensors: Tensor) -> Iterator[list[Tensor]]:
    """Gives tensors in one dtype, float32 or float64 if one of them has that, and turns autocast off.

    A loss subtracts what is nearly equal and adds up squares: half precision loses the first and
    overflows in the second. Gradients come back in the dtype that each tensor had.

    Example:
        >>> half = torch.full((4,), 300.0, dtype=torch.float16)
        >>> with full_precision(half, half) as (a, b):
        ...     print((a * b).sum().item())  # float16 ends at 65504
        360000.0
    """
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    with torch.autocast(tensors[0].device.type, enabled=False):
        yield [tensor.to(dtype) for tensor in tensors]
