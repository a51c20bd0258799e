# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Pools patch tokens to one vector. B batch, K tokens, D width.

Every aggregator takes (patch tokens, prefix tokens), so that those that read the class token have the same signature.
"""

import math

import torch
from torch import Tensor, nn

from vicmae.registry import MODELS


@MODELS.register_module()
class MeanPooling(nn.Module):
    """Averages the patch tokens, as in the paper: the best in its ablation (67.66 in a linear probe on ImageNet).

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


@MODELS.register_module()
class GeMPooling(nn.Module):
    """Takes the generalised mean of each channel over the patch tokens (66.92 in the paper's ablation).

    mean(x^p)^(1/p), https://arxiv.org/abs/1711.02512: the mean at p = 1, the maximum as p grows. Values below `eps`,
    which includes negative ones, count as `eps`.

    Args:
        p: Power, at least 1.
        learn_p: Whether the power is trained. It is then limited to 1 or more.
        eps: Lower limit of the values, above 0.

    Shape:
        (B, K, D), (B, 1, D) -> (B, D)
    """

    p: Tensor

    def __init__(self, p: float = 3.0, *, learn_p: bool = True, eps: float = 1e-6) -> None:
        super().__init__()
        if not 1 <= p < math.inf:
            raise ValueError(
                f'`p` must be at least 1 and finite, got {p}. '
                'Use 1 for the mean of positive values, 3 for more weight on large ones.'
            )
        if eps <= 0:
            raise ValueError(f'`eps` must be above 0, got {eps}. Usual is 1e-6.')
        self.initial_p, self.eps = float(p), eps
        if learn_p:
            self.p = nn.Parameter(torch.tensor([self.initial_p]))
        else:
            self.register_buffer('p', torch.tensor([self.initial_p]))

    def init_weights(self) -> None:
        """Resets the power."""
        nn.init.constant_(self.p, self.initial_p)

    def forward(self, patch_tokens: Tensor, prefix_tokens: Tensor) -> Tensor:
        dtype = torch.promote_types(patch_tokens.dtype, torch.float32)
        logs = patch_tokens.to(dtype).clamp(min=self.eps).log()
        p = self.p.to(dtype).clamp(min=1)
        # The mean of powers as a logarithm, since the powers overflow for a large p.
        log_mean = (p * logs).logsumexp(dim=1) - math.log(logs.shape[1])
        return (log_mean / p).exp().to(patch_tokens.dtype)

    def extra_repr(self) -> str:
        return f'p={self.initial_p}, learn_p={isinstance(self.p, nn.Parameter)}, eps={self.eps}'


@MODELS.register_module()
class ClsPooling(nn.Module):
    """Returns the class token. According to the paper, contrasting it fails, at least with losses without negatives.

    Shape:
        (B, K, D), (B, 1, D) -> (B, D)
    """

    needs_prefix = True

    def forward(self, patch_tokens: Tensor, prefix_tokens: Tensor) -> Tensor:
        if prefix_tokens.shape[1] == 0:
            raise ValueError(
                'The backbone has no class token (prefix of width 0): '
                'set `with_cls_token=True` or use `MeanPooling`.'
            )
        return prefix_tokens[:, 0]
