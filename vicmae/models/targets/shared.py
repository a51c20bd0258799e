# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Targets of the same encoder. V views, B batch, D width, E embedding."""

from torch import Tensor, nn

from vicmae.registry import MODELS

from ..heads.mlp import apply_per_view


@MODELS.register_module()
class SharedTarget(nn.Module):
    """Computes targets with the same encoder, with gradient: ViC-MAE as published.

    Args:
        head: The paper's target head T, separate from the predictor P. None uses the student's embeddings, as in the
            official code.

    Shape:
        pooled (V, B, D), embedded (V, B, E) -> (V, B, E)
    """

    def __init__(self, head: nn.Module | None = None) -> None:
        super().__init__()
        self.head = head

    def forward(self, pooled: Tensor, embedded: Tensor, teacher: Tensor | None) -> Tensor:
        return embedded if self.head is None else apply_per_view(self.head, pooled)
