# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""V views, B batch, C channels, H W pixels, D width, E embedding."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from vicmae.registry import MODELS

from ..heads.mlp import apply_per_view
from ..masking import Mask


@MODELS.register_module()
class EMATarget(nn.Module):
    """Embeddings of a teacher, whose weights are an exponential moving average of the student's.

    The teacher has an encoder, an aggregator and the student's first head: the projector where there is one
    (BYOL, https://arxiv.org/abs/2006.07733), else the predictor (MoCo, https://arxiv.org/abs/1911.05722).
    It gets no gradient; `TargetEMAHook` moves it after each step of the optimiser, from `momentum` to 1.

    Args:
        momentum: Share of the teacher that stays in each update, in [0, 1], at the beginning of a run.
        masked: Whether the teacher sees the patches that the student sees, or whole views.

    Shape:
        teacher (V, B, D), which `encode` makes of views -> (V, B, E)
    """

    required_hook = 'TargetEMAHook'

    def __init__(self, momentum: float = 0.996, masked: bool = True) -> None:
        super().__init__()
        self.momentum = check_momentum('momentum', momentum)
        self.masked = masked

    def follow(self, backbone: nn.Module, aggregator: nn.Module, embedder: nn.Module) -> None:
        """Makes the teacher, as a copy of the student."""
        parts: list[Any] = [backbone, aggregator, embedder]
        self.backbone, self.aggregator, self.embedder = (
            copy.deepcopy(part).requires_grad_(False) for part in parts
        )
        self.backbone.tells_of_resizing = False  # the student does
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

        Buffers (statistics of batch norm) are the teacher's own, from what it has seen itself.

        Args:
            backbone: The student's.
            aggregator: The student's.
            embedder: The student's.
            momentum: m; None for the target's own.
            skipped: 1 or 0, on the device: whether nothing moves.
        """
        weight = 1 - (self.momentum if momentum is None else check_momentum('momentum', momentum))
        pairs = [
            (self.backbone, backbone),
            (self.aggregator, aggregator),
            (self.embedder, embedder),
        ]
        teachers: list[Tensor] = [p for teacher, _ in pairs for p in teacher.parameters()]
        students: list[Tensor] = [p for _, student in pairs for p in student.parameters()]
        if skipped is None:
            torch._foreach_lerp_(teachers, students, weight)
            return
        ways = torch._foreach_sub(students, teachers)
        torch._foreach_mul_(ways, weight * (1 - skipped))
        torch._foreach_add_(teachers, ways)

    def train(self, mode: bool = True) -> 'EMATarget':
        """Batch norm in the teacher's head uses the batch as the student's does; dropped paths stay off."""
        super().train(mode)
        if hasattr(self, 'backbone'):
            self.backbone.eval()
        return self

    @torch.no_grad()
    def encode(self, views: Tensor, mask: Mask) -> Tensor:
        """What the teacher makes of views, pooled: (R, C, H, W) -> (R, D), for any R of the V*B rows."""
        tokens = self.backbone(views, mask)[0] if self.masked else self.backbone(views)[-1]
        return self.aggregator(*self.backbone.split_prefix(tokens))

    @torch.no_grad()
    def forward(self, pooled: Tensor, embedded: Tensor, teacher: Tensor) -> Tensor:
        return apply_per_view(self.embedder, teacher)

    def extra_repr(self) -> str:
        return f'momentum={self.momentum}, masked={self.masked}'


def check_momentum(name: str, value: float) -> float:
    """Returns a momentum, or says why it is none."""
    if not 0 <= value <= 1:
        raise ValueError(
            f'`{name}` is the share of the teacher that stays, in [0, 1], got {value}. Usual is 0.99 to 1.'
        )
    return value
