# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""V views, B batch, D width, E embedding."""

from torch import Tensor, nn

from vicmae.registry import MODELS


@MODELS.register_module()
class StopGradientTarget(nn.Module):
    """The student's own embeddings, without gradient (SimSiam, https://arxiv.org/abs/2011.10566).

    It has no head, as nothing would train one.

    Shape:
        pooled (V, B, D), embedded (V, B, E) -> (V, B, E)
    """

    def forward(self, pooled: Tensor, embedded: Tensor, teacher: Tensor | None) -> Tensor:
        return embedded.detach()
