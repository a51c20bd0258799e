# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Pools tokens to one vector by attention. B batch, K tokens, D width, h heads."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vicmae.registry import MODELS

from ..layers import init_linear_layers


class QueryAttention(nn.Module):
    """Pools tokens by one learned query that attends to them in several heads: a weighted mean.

    The query starts small, so that the weights are nearly equal: initially this is a mean between linear layers.
    """

    # As many heads as the backbone of that size.
    model_sizes: ClassVar = {
        'tiny': dict(num_heads=3),
        'small': dict(num_heads=6),
        'base': dict(num_heads=12),
        'large': dict(num_heads=16),
        'huge': dict(num_heads=16),
    }

    def __init__(self, in_dim: int, num_heads: int = 8) -> None:
        super().__init__()
        if num_heads < 1 or in_dim % num_heads:
            choices = [heads for heads in range(1, in_dim + 1) if in_dim % heads == 0]
            raise ValueError(
                f'`num_heads` must divide the width {in_dim}, got {num_heads}. Use one of {choices}.'
            )
        self.num_heads = num_heads
        self.query = nn.Parameter(torch.empty(1, 1, in_dim))
        self.norm = nn.LayerNorm(in_dim, eps=1e-6)
        # No bias: it would shift the scores of all tokens equally, which the softmax cancels.
        self.key = nn.Linear(in_dim, in_dim, bias=False)
        self.value = nn.Linear(in_dim, in_dim)
        self.proj = nn.Linear(in_dim, in_dim)
        self.init_weights()

    def init_weights(self) -> None:
        """Initialises linear layers Xavier-uniformly, and the query like a class token."""
        init_linear_layers(self)
        self.norm.reset_parameters()
        nn.init.normal_(self.query, std=0.02)

    def attend(self, tokens: Tensor) -> Tensor:
        """Pools tokens: (B, K, D) -> (B, D)."""
        tokens = self.norm(tokens)
        pooled = F.scaled_dot_product_attention(
            self._split_heads(self.query.expand(len(tokens), -1, -1)),
            self._split_heads(self.key(tokens)),
            self._split_heads(self.value(tokens)),
        )  # (B, h, 1, D/h)
        return self.proj(pooled.flatten(1))

    def _split_heads(self, tokens: Tensor) -> Tensor:
        """Splits the width into heads: (B, K, D) -> (B, h, K, D/h)."""
        return tokens.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


@MODELS.register_module()
class AttentionPooling(QueryAttention):
    """Pools the patch tokens by one learned query that attends to them in several heads.

    Initially this is `MeanPooling` between linear layers.

    Args:
        in_dim: Width of the tokens. The model fills it in from the backbone.
        num_heads: Number of attention heads, which must divide the width.

    Shape:
        (B, K, D), (B, 1, D) -> (B, D)
    """

    def forward(self, patch_tokens: Tensor, prefix_tokens: Tensor) -> Tensor:
        return self.attend(patch_tokens)
