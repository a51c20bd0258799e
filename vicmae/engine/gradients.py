# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Norms of gradients, whole or sharded over ranks (`DTensor`)."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def local_norms(parameters: Sequence[nn.Parameter], device: torch.device | None = None) -> Tensor:
    """Returns the norm of each gradient, or of this rank's shard: no rank waits for another.

    Shape:
        gradients of any shapes -> (number of gradients,)
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    gradients = [g.to_local() if isinstance(g, DTensor) else g for g in gradients]
    norms = torch._foreach_norm(gradients) if gradients else []
    return torch.stack(list(norms)) if norms else torch.zeros(0, device=device)


def global_norm(parameters: Sequence[nn.Parameter], norms: Tensor) -> Tensor:
    """Returns the norm of all gradients together; if they are sharded, all ranks have to call it.

    Shape:
        (number of gradients,) -> ()
    """
    sharded = torch.tensor([isinstance(p, DTensor) for p in parameters], dtype=torch.bool)
    if not sharded.any():
        return torch.linalg.vector_norm(norms)
    squares = norms.square()
    of_all = squares[sharded].sum()
    dist.all_reduce(of_all)
    return (of_all + squares[~sharded].sum()).sqrt()
