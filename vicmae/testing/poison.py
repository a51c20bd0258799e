# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Hooks that make steps of a real run go wrong, for tests of what guards it. Iterations count from 0."""

import math
from typing import Any

import torch
from mmengine.hooks import Hook

from vicmae.utils.distributed import unwrapped


class PoisonPixels(Hook):
    """Makes the views of some iterations NaN, and with them losses and gradients.

    Args:
        iterations: Which.
        rank: On which rank alone; None for all.
    """

    def __init__(self, *iterations: int, rank: int | None = None) -> None:
        self.iterations, self.rank = iterations, rank

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter in self.iterations and self.rank in (None, runner.rank):
            data_batch['inputs'] = [torch.full(v.shape, math.nan) for v in data_batch['inputs']]


class PoisonGradients(Hook):
    """Makes the gradients of some iterations infinite, where losses stay finite.

    Args:
        iterations: Which.
    """

    def __init__(self, *iterations: int) -> None:
        self.iterations = iterations

    def before_train(self, runner: Any) -> None:
        def poison(gradient: torch.Tensor) -> torch.Tensor:
            return gradient * math.inf if runner.iter in self.iterations else gradient

        for parameter in runner.model.parameters():
            if parameter.requires_grad:
                parameter.register_hook(poison)


class PoisonLoss(Hook):
    """Gives some iterations another loss that is NaN and has no gradient, so that gradients stay finite.

    Args:
        iterations: Which.
        rank: On which rank alone; None for all.
    """

    priority = 'VERY_HIGH'  # before others look at losses

    def __init__(self, *iterations: int, rank: int | None = None) -> None:
        self.iterations, self.rank = iterations, rank

    def before_train(self, runner: Any) -> None:
        model = unwrapped(runner.model)

        def poison(_: Any, __: Any, outputs: Any) -> Any:
            chosen = runner.iter in self.iterations and self.rank in (None, runner.rank)
            if chosen and model.training:
                some_loss = next(iter(outputs.values()))
                return {**outputs, 'loss_extra': some_loss.new_tensor(math.nan)}
            return outputs

        model.register_forward_hook(poison)
