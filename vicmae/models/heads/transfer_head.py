# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Classifies a pooled vector by one linear layer. B batch, D width."""

from collections.abc import Callable
from typing import Any, ClassVar

from mmpretrain.models import LinearClsHead
from torch import Tensor, nn

from vicmae.registry import MODELS

from ..layers import SyncBatchNorm1d

# As in MAE. Unlike the norms of `MLPHead`, batch norms have no scale and shift.
FEATURE_NORMS: dict[str, Callable[[int], nn.Module]] = {
    'LN': lambda width: nn.LayerNorm(width, eps=1e-6),
    'BN': lambda width: nn.BatchNorm1d(width, affine=False, eps=1e-6),
    'SyncBN': lambda width: SyncBatchNorm1d(width, affine=False, eps=1e-6),
}


@MODELS.register_module()
class TransferHead(LinearClsHead):
    """Classifies pooled features by one linear layer after a norm.

    MAE (https://arxiv.org/abs/2111.06377) fine-tunes with a new layer norm. Its linear probe has a batch norm without
    scale and shift, which gives the features of all methods the same range.

    Args:
        num_classes: Number of classes.
        in_dim: Width of the features. The model fills it in from the backbone.
        norm: 'LN', 'BN' (statistics of this process), 'SyncBN' (of all processes), or None. The batch norms have no
            parameters.
        dropout: Share of the features that are set to zero in training, in [0, 1).
        init_std: Standard deviation of the initial weights.
        loss: Config of the loss of scores and labels, or the class shares of mixup and cutmix.

    Shape:
        (B, D) -> (B, num_classes)
    """

    follows: ClassVar = dict(num_classes='num_classes')

    def __init__(
        self,
        num_classes: int,
        in_dim: int,
        *,
        norm: str | None = None,
        dropout: float = 0.0,
        init_std: float = 0.01,
        loss: dict[str, Any] | None = None,
    ) -> None:
        if num_classes < 2:
            raise ValueError(f'`num_classes` must be at least 2, got {num_classes}.')
        if norm is not None and norm not in FEATURE_NORMS:
            choices = ', '.join(FEATURE_NORMS)
            raise ValueError(f"`norm` must be one of {choices} or None, got '{norm}'.")
        # Smoothing by 0 is the plain cross entropy, for labels and for shares.
        loss = loss or dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.0)
        loss = {'num_classes': num_classes, **loss}
        super().__init__(num_classes, in_dim, loss=loss, init_cfg=None)
        self.init_std = init_std
        self.norm = nn.Identity() if norm is None else FEATURE_NORMS[norm](in_dim)
        self.dropout = nn.Dropout(dropout)

    def init_weights(self) -> None:
        """Initialises the weights of the linear layer."""
        nn.init.trunc_normal_(self.fc.weight, std=self.init_std)
        nn.init.zeros_(self.fc.bias)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Applies norm and dropout, before the linear layer."""
        return self.dropout(self.norm(feats[-1]))
