# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Heads for projector and predictor. V views, B batch, D input width, E output width."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from vicmae.registry import MODELS

from ..layers import SyncBatchNorm1d, init_linear_layers
from ..parts import call_part

NORMS = {'BN': nn.BatchNorm1d, 'SyncBN': SyncBatchNorm1d, 'LN': nn.LayerNorm}


@MODELS.register_module()
class MLPHead(nn.Sequential):
    """Applies blocks of Linear, norm and ReLU, then one Linear: the paper's P and T, and the official projector.

    Args:
        in_dim: Width of the input. The model fills it in.
        hidden_dim: Width of the blocks.
        out_dim: Width of the output.
        num_blocks: Number of Linear-norm-ReLU blocks before the last Linear, at least 0.
        norm: 'BN' (batch norm with the statistics of this process), 'SyncBN' (of all processes), 'LN' (layer norm) or
            None.

    Shape:
        (B, D) -> (B, E)
    """

    model_sizes: ClassVar = {
        'tiny': dict(hidden_dim=1024),
        'small': dict(hidden_dim=2048),
        'base': dict(hidden_dim=4096),
        'large': dict(hidden_dim=4096),
        'huge': dict(hidden_dim=4096),
    }

    def __init__(
        self,
        *,
        in_dim: int,
        hidden_dim: int = 4096,
        out_dim: int = 128,
        num_blocks: int = 2,
        norm: str | None = 'BN',
    ) -> None:
        if norm is not None and norm not in NORMS:
            raise ValueError(f"`norm` must be one of {', '.join(NORMS)} or None, got '{norm}'.")
        if num_blocks < 0 or hidden_dim < 1 or out_dim < 1:
            raise ValueError(
                f'`hidden_dim` and `out_dim` must be positive and `num_blocks` not negative, got {hidden_dim}, '
                f'{out_dim} and {num_blocks}. With 0 blocks, the head is one Linear.'
            )
        layers: list[nn.Module] = []
        width = in_dim
        for _ in range(num_blocks):
            layers.append(nn.Linear(width, hidden_dim))
            if norm is not None:
                layers.append(NORMS[norm](hidden_dim))
            layers.append(nn.ReLU())
            width = hidden_dim
        layers.append(nn.Linear(width, out_dim))
        super().__init__(*layers)

    def init_weights(self) -> None:
        """Initialises weights as in MAE."""
        init_linear_layers(self)


def apply_per_view(
    head: nn.Module, views: Tensor, name: str = 'target.head', *more: Tensor
) -> Tensor:
    """Applies a head to each view separately, so that batch norm has statistics per view: (V, B, D) -> (V, B, E).

    Each view of `more` is a further argument of the head.
    """
    if isinstance(head, nn.Identity):
        return views
    return torch.stack(
        [call_part(name, head, *view, returns='(B, E)') for view in zip(views, *more, strict=True)]
    )
