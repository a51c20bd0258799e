# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""EMA teacher. V views, B batch, C channels, H W pixels, D width, E embedding."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from vicmae.registry import MODELS

from ..heads.mlp import apply_per_view
from ..masking import Mask


@MODELS.register_module()
class EMATarget(nn.Module):
    """Computes targets with a teacher, whose weights are an exponential moving average (EMA) of the student's.

    The teacher has an encoder, an aggregator and the student's first head: the projector if there is one
    (BYOL, https://arxiv.org/abs/2006.07733), else the predictor (MoCo, https://arxiv.org/abs/1911.05722).
    It gets no gradient. `TargetEMAHook` updates it after each optimiser step, with a momentum that rises to 1.

    Args:
        momentum: Share of the teacher's weights that is kept in an update, in [0, 1], at the start of a run.
        masked: Whether the teacher sees only the patches that the student sees. Otherwise it sees whole views.

    Shape:
        teacher (V, B, D), from `encode` -> (V, B, E)
    """

    required_hook = 'TargetEMAHook'

    def __init__(self, momentum: float = 0.996, masked: bool = True) -> None:
        super().__init__()
        self.momentum = check_momentum('momentum', momentum)
        self.masked = masked

    def follow(self, backbone: nn.Module, aggregator: nn.Module, embedder: nn.Module) -> None:
        """Creates the teacher as a copy of the student."""
        parts: list[Any] = [backbone, aggregator, embedder]
        self.backbone, self.aggregator, self.embedder = (
            copy.deepcopy(part).requires_grad_(False) for part in parts
        )
        self.backbone.warns_of_resizing = False  # the student warns
        self.train(self.training)

    @torch.no_grad()
    def update(
        self,
        backbone: nn.Module,
        aggregator: nn.Module,
        embedder: nn.Module,
        *,
        momentum: float | None = None,
        skipped: Tensor | None = None,
    ) -> None:
        """Moves the teacher's parameters towards the student's: m * teacher + (1 - m) * student.

        Buffers (batch norm statistics) are not averaged. If `skipped`, a number on the device, is 1, nothing changes.
        """
        weight = 1 - (self.momentum if momentum is None else check_momentum('momentum', momentum))

        def parameters(*modules: nn.Module) -> list[Tensor]:
            return [p for module in modules for p in module.parameters()]

        teacher = parameters(self.backbone, self.aggregator, self.embedder)
        student = parameters(backbone, aggregator, embedder)
        if skipped is None:
            torch._foreach_lerp_(teacher, student, weight)
            return
        differences = torch._foreach_sub(student, teacher)
        torch._foreach_mul_(differences, weight * (1 - skipped))
        torch._foreach_add_(teacher, differences)

    def train(self, mode: bool = True) -> 'EMATarget':
        """Sets the mode of the head only: its batch norm uses the batch, but the backbone drops no paths."""
        super().train(mode)
        if hasattr(self, 'backbone'):
            self.backbone.eval()
        return self

    @torch.no_grad()
    def encode(self, views: Tensor, mask: Mask) -> Tensor:
        """Encodes and pools views: (R, C, H, W) -> (R, D), for any R of the V*B rows."""
        tokens = self.backbone(views, mask)[0] if self.masked else self.backbone(views)[-1]
        return self.aggregator(*self.backbone.split_prefix(tokens))

    @torch.no_grad()
    def forward(self, pooled: Tensor, embedded: Tensor, teacher: Tensor) -> Tensor:
        return apply_per_view(self.embedder, teacher)

    def extra_repr(self) -> str:
        return f'momentum={self.momentum}, masked={self.masked}'


def check_momentum(name: str, value: float) -> float:
    """Returns a momentum, or raises a ValueError."""
    if not 0 <= value <= 1:
        raise ValueError(
            f'`{name}` is the share of the teacher that is kept, in [0, 1], got {value}. Usual values are 0.99 to 1.'
        )
    return value
