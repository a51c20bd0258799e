# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Projector or predictor of a part of the channels. B batch, D input width, E output width."""

from typing import Any

from torch import Tensor

from vicmae.registry import MODELS

from .mlp import MLPHead


@MODELS.register_module()
class ChannelShareHead(MLPHead):
    """Applies an `MLPHead` to the first channels only, so that a contrastive loss doesn't change the others.

    Two distant frames that are pulled together may lose what moved between them. With this head, the other channels
    can keep it: they are trained by reconstruction only. Use it for all heads that get pooled tokens: the `projector`,
    or, without a projector, the `predictor` and the `target.head`.

    Args:
        in_dim: Number of all channels. The model fills it in.
        share: Share of the channels that the head uses, in (0, 1].
        mlp: Arguments of `MLPHead`.

    Shape:
        (B, D) -> (B, E)
    """

    def __init__(self, *, in_dim: int, share: float = 0.5, **mlp: Any) -> None:
        if not 0 < share <= 1:
            raise ValueError(
                f'`share` must be in (0, 1], got {share}. Give a fraction: 0.5 uses half of the channels.'
            )
        num_channels = max(1, round(share * in_dim))
        super().__init__(in_dim=num_channels, **mlp)
        self.num_channels = num_channels

    def forward(self, pooled: Tensor) -> Tensor:
        return super().forward(pooled[..., : self.num_channels])

    def extra_repr(self) -> str:
        return f'num_channels={self.num_channels}'
