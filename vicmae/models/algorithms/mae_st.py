# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE-ST. B batch, C channels, T H W frames and pixels, t time steps, N patches, P values per patch."""

import torch
from torch import Tensor

from vicmae.registry import MODELS

from ..layers import PatchSize, as_clip, patchify
from .mae import MAE


@MODELS.register_module()
class MAEST(MAE):
    """Predicts masked patches of clips, drawn at random in space and time: MAE-ST (https://arxiv.org/abs/2205.09113).

    ::

        clip -- mask 90 % of the tubelets -- ViT on visible ones -- decoder -- L on one frame of each masked tubelet

    It is MAE on clips, where these parts differ:

    - `backbone`: `tubelet_size=2`, learned positions in space and in time (`learn_pos_embed=True`), one class token
      (`repeat_cls_token=False`).
    - `backbone.masking`: `RandomMasking(mask_ratio=0.9)`.
    - `neck`: a `MAEDecoder` of four layers, with a class token of its own (`own_cls_token=True`).
    - The target of a tubelet is one of its frames: of 16 frames, 8 are predicted.

    Args:
        neck: Decoder that predicts the masked patches from the encoded ones, such as `MAEDecoder`.
        reconstruction: Loss of predicted and true patches, such as `PixelReconstructionLoss`.
        model: Arguments of `FeatureModel`.
    """

    @property
    def predicted_patch_size(self) -> PatchSize:
        """Frames, rows and columns of what is predicted for a patch: one frame of a tubelet."""
        return (1, *self.backbone.patch_size[1:])

    def true_patches(self, views: Tensor) -> Tensor:
        """Returns one frame of each tubelet, the first of the first one to the last of the last one: (B, N, P)."""
        clips, num_times = as_clip(views), self.backbone.grid_of(views)[0]
        steps = torch.arange(num_times, device=clips.device)
        chosen = steps * (clips.shape[2] - 1) // max(num_times - 1, 1)  # one in each tubelet
        return patchify(clips[:, :, chosen], self.predicted_patch_size)
