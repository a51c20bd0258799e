# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE. V views, B batch, C channels, H W pixels, M masked patches, P values per patch."""

from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from vicmae.registry import MODELS

from ..masking import seeds_of_views
from ..parts import Part, build_part, require_parameter_free
from .base import BasePretrainer


@MODELS.register_module()
class MAE(BasePretrainer):
    """Masked autoencoders (https://arxiv.org/abs/2111.06377): hidden patches are predicted from visible ones.

    Each view is a sample of its own: one of an image or a frame, as in the paper, or several.

    Args:
        backbone: Encodes the patches that its `masking` keeps.
        neck: Predicts the masked patches from the encoded ones.
        reconstruction: Compares predicted with true patches.
        aggregator: Pools patch tokens to a feature, for evaluation.
        data_preprocessor: Brings pixels to the device and normalises them.
        init_cfg: MMEngine's initialisation, such as `dict(type='Pretrained', checkpoint=...)`.
    """

    def __init__(
        self,
        *,
        backbone: Part,
        neck: Part,
        reconstruction: Part,
        aggregator: Part,
        data_preprocessor: Part | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            aggregator=aggregator,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.backbone.require_masking()
        require_parameter_free(self.aggregator, 'MAE pools for evaluation only')
        self.neck = self.build_neck(neck)
        self.reconstruction = build_part(reconstruction)

    @property
    def pixel_loss(self) -> Any:
        """What compares patches."""
        return self.reconstruction

    def loss(
        self,
        inputs: Sequence[Tensor],
        data_samples: Sequence[DataSample] | None = None,
        seeds: Tensor | None = None,
    ) -> dict[str, Tensor]:
        views = torch.cat(list(inputs))  # (V*B, C, H, W)
        mask = self.backbone.draw_mask(views, seeds_of_views(seeds, len(inputs)))
        tokens, _ = self.backbone(views, mask)
        predicted, patches = self.predict_hidden(views, tokens, mask)  # (V*B, M, P) each
        return {'loss_reconstruction': self.reconstruction(predicted, patches)}
