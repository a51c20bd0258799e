# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Patch tokens to one vector. B batch, K tokens, D width.

Every aggregator takes (patch tokens, prefix tokens), so that one which reads the class token is a swap like any other.
"""

from torch import Tensor, nn

from vicmae.registry import MODELS


@MODELS.register_module()
class MeanPooling(nn.Module):
    """Averages the patch tokens: the paper's choice, and its best (67.66 linear probe on ImageNet).

    Shape:
        (B, K, D), (B, 1, D) -> (B, D)
    """

    def forward(self, patch_tokens: Tensor, prefix_tokens: Tensor) -> Tensor:
        return patch_tokens.mean(dim=1)


@MODELS.register_module()
class MaxPooling(nn.Module):
    """Takes the largest value of each channel over the patch tokens (67.01 in the paper's ablation).

    Shape:
        (B, K, D), (B, 1, D) -> (B, D)
    """

    def forward(self, patch_tokens: Tensor, prefix_tokens: Tensor) -> Tensor:
        return patch_tokens.amax(dim=1)
