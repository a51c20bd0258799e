# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""V views, B batch, D width, E embedding."""

from torch import Tensor, nn

from vicmae.registry import MODELS

from ..heads.mlp import apply_per_view


@MODELS.register_module()
class SharedTarget(nn.Module):
    """Targets from the same encoder, with gradient: ViC-MAE as published.

    Args:
        head: The paper's target head T, separate from the predictor P. None compares with the
            student's own embeddings, as the official code does.

    Shape:
        pooled (V, B, D), embedded (V, B, E) -> (V, B, E)
    """

    def __init__(self, head: nn.Module | None = None) -> None:
        super().__init__()
        self.head = head

    def forward(self, pooled: Tensor, embedded: Tensor, teacher: Tensor | None) -> Tensor:
        return embedded if self.head is None else apply_per_view(self.head, pooled)
