# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""EMA teacher. V views, B batch, C channels, H W pixels, D width, E embedding."""

from typing import Any

import torch
from torch import Tensor

from vicmae.registry import MODELS

from ..heads.mlp import apply_per_view
from ..masking import Mask
from .teacher import EMATeacher


@MODELS.register_module()
class EMATarget(EMATeacher):
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

    aggregator: Any
    embedder: Any

    def __init__(self, momentum: float = 0.996, masked: bool = True) -> None:
        super().__init__(momentum)
        self.masked = masked

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
