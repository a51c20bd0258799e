# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""SimCLR on a vision transformer. V views, B batch, C channels, H W pixels, D width, E embedding."""

from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from vicmae.registry import MODELS

from ..heads.mlp import apply_per_view
from ..parts import Part, build_part
from .base import BasePretrainer


@MODELS.register_module()
class SimCLR(BasePretrainer):
    """SimCLR (https://arxiv.org/abs/2002.05709): two views find each other among the batch. Nothing is masked.

    (mmpretrain's SimCLR gets 1/W of the gradient through the gathered samples on W ranks; this one all of it.)

    Args:
        backbone: Encodes whole views.
        aggregator: Pools patch tokens to one vector.
        projector: Maps it to an embedding; batch norm keeps statistics per view.
        contrastive: Compares the embeddings of the views.
        data_preprocessor: Brings pixels to the device and normalises them.
        init_cfg: MMEngine's initialisation, such as `dict(type='Pretrained', checkpoint=...)`.
    """

    def __init__(
        self,
        *,
        backbone: Part,
        aggregator: Part,
        projector: Part,
        contrastive: Part,
        data_preprocessor: Part | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            aggregator=aggregator,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.projector = build_part(projector, in_dim=self.backbone.embed_dims)
        self.contrastive = build_part(contrastive)

    def loss(
        self,
        inputs: Sequence[Tensor],
        data_samples: Sequence[DataSample] | None = None,
        seeds: Tensor | None = None,
    ) -> dict[str, Tensor]:
        pooled = self.extract_feat(torch.cat(list(inputs)))  # (V*B, D)
        embedded = apply_per_view(self.projector, pooled.unflatten(0, (len(inputs), -1)))
        return {'loss_contrastive': self.contrastive(embedded, embedded)}
