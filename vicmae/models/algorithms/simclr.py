# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""SimCLR on a vision transformer. V views, B batch, C channels, H W pixels, D width, E embedding."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vicmae.registry import MODELS
from vicmae.structures import Clips, Views, as_one_kind

from ..feature_model import DataSamples
from ..heads.mlp import apply_per_view
from ..parts import Part, build_part, call_part
from .base import BasePretrainer


@MODELS.register_module()
class SimCLR(BasePretrainer):
    """Matches the two views of a sample within the batch, without masks: SimCLR (https://arxiv.org/abs/2002.05709).

    On W ranks, gradients through the gathered samples are complete. (Those of mmpretrain's SimCLR are 1/W of them.)

    Args:
        projector: Maps the pooled vector to an embedding. Its batch norms compute statistics for each view.
        contrastive: Loss of the embeddings of both views, such as `InfoNCELoss`.
        model: Arguments of `FeatureModel`.
    """

    def __init__(self, *, projector: Part, contrastive: Part, **model: Any) -> None:
        super().__init__(**model)
        self.projector = build_part(projector, in_dim=self.backbone.embed_dims)
        self.contrastive = build_part(contrastive)

    def loss(
        self,
        inputs: Sequence[Tensor],
        data_samples: DataSamples = None,
        seeds: Tensor | None = None,
        times: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Matches the views of each sample: V times (B, C, H, W)."""
        return self.mixed_loss([Views(inputs)])

    def mixed_loss(self, batches: Sequence[Views | Clips]) -> dict[str, Tensor]:
        """Matches the views of samples within the batches of all kinds together."""
        batches = [as_one_kind(batch) for batch in batches]
        views = torch.cat([self._encode_views(batch.inputs) for batch in batches], dim=1)
        embedded = apply_per_view(self.projector, views, 'projector')
        loss = call_part('contrastive', self.contrastive, embedded, embedded, returns='()')
        return {'loss_contrastive': loss}

    def _encode_views(self, inputs: Sequence[Tensor]) -> Tensor:
        """Encodes views of one kind: V times (B, C, H, W) -> (V, B, D)."""
        pooled = self.extract_feat(self.join_views(inputs))  # (V*B, D)
        return pooled.unflatten(0, (len(inputs), -1))
