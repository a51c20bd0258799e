# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ranks, and collectives with gradients for losses over all ranks."""

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from mmengine.model import is_model_wrapper
from torch import Tensor, nn


def rank_and_world_size() -> tuple[int, int]:
    """Returns this process's rank and the number of processes; (0, 1) if not distributed."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def unwrapped(model: nn.Module) -> Any:
    """Returns the model without the wrapper of a distributed run."""
    return model.module if is_model_wrapper(model) else model


def default_timeout() -> timedelta:
    """Returns the timeout of the run's collectives, `env_cfg.dist_cfg.timeout`."""
    device = torch.device('cuda' if dist.get_backend() == 'nccl' else 'cpu')
    return dist.group.WORLD._get_backend(device).options._timeout  # type: ignore[union-attr]


class GatherOnCPU:
    """Gathers a plain value of each rank on all ranks, over CPUs: it doesn't wait for a device."""

    def __init__(self) -> None:
        self._group = None
        if rank_and_world_size()[1] > 1:
            self._group = dist.new_group(backend='gloo', timeout=default_timeout())

    def __call__(self, value: Any) -> list[Any]:
        """Returns the values of all ranks, in rank order."""
        if self._group is None:
            return [value]
        values = [None] * dist.get_world_size(self._group)
        dist.all_gather_object(values, value, group=self._group)
        return values


class _GatherWithGrad(torch.autograd.Function):
    """all_gather whose backward sums the gradients of all ranks' losses for this rank's rows.

    mmpretrain's `GatherLayer` keeps only this rank's part, so its gradients are 1/W of the true ones.
    """

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        ctx.num_rows = local.shape[0]
        local = local.contiguous()
        parts = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, local)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        begin = dist.get_rank() * ctx.num_rows
        return grad[begin : begin + ctx.num_rows]


def gather_with_grad(local: Tensor) -> Tensor:
    """Concatenates the rows of all ranks, in rank order, with gradients to every rank.

    All ranks must have the same number of rows.

    Shape:
        (R, ...) -> (W*R, ...)
    """
    return local if rank_and_world_size()[1] == 1 else _GatherWithGrad.apply(local)


class _SumOverRanks(torch.autograd.Function):
    """all_reduce whose backward is an all_reduce: each rank's loss depends on the summands of all ranks."""

    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        total = local.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _SumOverRanks.forward(ctx, grad)


def sum_over_ranks(local: Tensor) -> Tensor:
    """Sums tensors of one shape over all ranks, with gradients to every rank."""
    return local if rank_and_world_size()[1] == 1 else _SumOverRanks.apply(local)
