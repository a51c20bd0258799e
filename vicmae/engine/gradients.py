# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Questions about gradients, whole ones or sharded over ranks (`DTensor`)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm


def global_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The norm of all gradients together, over all ranks where they are sharded: those have to call it together.

    Shape:
        gradients of any shapes -> ()
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    sharded = [g for g in gradients if isinstance(g, DTensor)]
    whole = [g for g in gradients if not isinstance(g, DTensor)]
    norms = [whole_tensor(get_total_norm(group)) for group in (sharded, whole) if group]
    return torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())


def non_finite_gradients(model: nn.Module) -> list[str]:
    """Names of the parameters whose gradient, or this rank's part of it, has infinite values or NaN."""
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not local_part(parameter.grad).isfinite().all()
    ]


def local_part(tensor: Tensor) -> Tensor:
    """What this rank has of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_tensor(tensor: Tensor) -> Tensor:
    """A tensor with the parts of all ranks, which have to call it together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
