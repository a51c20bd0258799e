# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Targets without gradient. V views, B batch, D width, E embedding."""

from torch import Tensor, nn

from vicmae.registry import MODELS


@MODELS.register_module()
class StopGradientTarget(nn.Module):
    """Uses the student's embeddings, without gradient (SimSiam, https://arxiv.org/abs/2011.10566).

    It has no head, as no loss would train it.

    Shape:
        pooled (V, B, D), embedded (V, B, E) -> (V, B, E)
    """

    def forward(self, pooled: Tensor, embedded: Tensor, teacher: Tensor | None) -> Tensor:
        return embedded.detach()
