# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE. V views, B batch, C channels, T H W frames and pixels, M masked patches, P values per patch."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vicmae.registry import MODELS

from ..feature_model import DataSamples
from ..masking import seeds_of_views
from ..parts import Part, build_part, call_part, require_parameter_free
from .base import BasePretrainer


@MODELS.register_module()
class MAE(BasePretrainer):
    """Predicts masked patches from visible ones: masked autoencoders (https://arxiv.org/abs/2111.06377).

    Each view is a separate sample. The backbone needs a `masking`. The aggregator is used in evaluation only.

    Args:
        neck: Decoder that predicts the masked patches from the encoded ones, such as `MAEDecoder`.
        reconstruction: Loss of predicted and true patches, such as `PixelReconstructionLoss`.
        model: Arguments of `FeatureModel`.
    """

    def __init__(self, *, neck: Part, reconstruction: Part, **model: Any) -> None:
        super().__init__(**model)
        self.backbone.require_masking()
        require_parameter_free(self.aggregator, 'MAE pools for evaluation only')
        tubelet_size = self.predicted_patch_size[0]
        self.reconstruction = build_part(reconstruction, tubelet_size=tubelet_size)
        self.neck = self.build_neck(neck)

    @property
    def pixel_loss(self) -> Any:
        """Loss of predicted and true patches."""
        return self.reconstruction

    def loss(
        self,
        inputs: Sequence[Tensor],
        data_samples: DataSamples = None,
        seeds: Tensor | None = None,
        times: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Predicts the masked patches of all views: V times (B, C, H, W) or clips (B, C, T, H, W)."""
        views = self.join_views(inputs)  # (V*B, C, H, W) or (V*B, C, T, H, W)
        mask = self.backbone.draw_mask(views, seeds_of_views(seeds, len(inputs)))
        tokens, _ = self.backbone(views, mask)
        predicted, patches = self.predict_hidden(views, tokens, mask)  # (V*B, M, P) each
        loss = call_part('reconstruction', self.reconstruction, predicted, patches, returns='()')
        return {'loss_reconstruction': loss}
