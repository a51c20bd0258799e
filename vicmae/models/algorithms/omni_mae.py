# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""OmniMAE."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vicmae.errors import ConfigError
from vicmae.registry import MODELS

from ..feature_model import DataSamples
from .mae import MAE


@MODELS.register_module()
class OmniMAE(MAE):
    """Predicts masked patches of images and clips with one encoder: OmniMAE (https://arxiv.org/abs/2206.08356).

    ::

        image -- repeat to a tubelet -- mask 90 % --+
                                                    +-- ViT on visible tubelets -- decoder -- L on masked tubelets
        clip -------------------------- mask 95 % --+

    It is MAE on both, where these parts differ:

    - `backbone`: `tubelet_size=2`, `pos_embed_type='sinusoid'`, no class token. An image has the positions of the first
      time step.
    - `backbone.masking`: `ImageOrClipMasking`.
    - `neck`: a narrow `MAEDecoder`.
    - `reconstruction`: `PixelReconstructionLoss(norm_pix='channel')`.

    A batch has images, clips, or both (`collate_by_kind`).

    Args:
        neck: Decoder that predicts the masked patches from the encoded ones, such as `MAEDecoder`.
        reconstruction: Loss of predicted and true patches, such as `PixelReconstructionLoss`.
        model: Arguments of `FeatureModel`. The backbone encodes clips.
    """

    def __init__(self, **model: Any) -> None:
        super().__init__(**model)
        if not self.backbone.takes_clips:
            raise ConfigError(
                'OmniMAE encodes images as clips of one tubelet, but this backbone encodes images only. Set '
                '`backbone.num_frames=16` and `backbone.tubelet_size=2`, or use `MAE`.'
            )

    def loss(
        self,
        inputs: Sequence[Tensor],
        data_samples: DataSamples = None,
        seeds: Tensor | None = None,
        times: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        losses = super().loss(inputs, data_samples, seeds)
        # As for `ImageOrClipMasking`, one time step is an image.
        kind = 'image' if self.backbone.grid_of(inputs[0])[0] == 1 else 'clip'
        return {**losses, f'reconstruction_{kind}': losses['loss_reconstruction'].detach()}
