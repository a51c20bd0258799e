# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""VideoMAE."""

from vicmae.registry import MODELS

from .mae import MAE


@MODELS.register_module()
class VideoMAE(MAE):
    """Predicts masked tubes of clips from visible ones: VideoMAE (https://arxiv.org/abs/2203.12602).

    ::

        clip -- mask 90 % of the places, in all frames -- ViT on visible tubelets -- decoder -- L on masked tubelets

    It is MAE on clips, where these parts differ:

    - `backbone`: `tubelet_size=2`, `pos_embed_type='sinusoid'`, no class token; every patch attends to the whole clip.
    - `backbone.masking`: `TubeMasking`, as neighbouring frames are nearly equal.
    - `neck`: a narrow `MAEDecoder` over all tubelets of the clip.
    - `reconstruction`: `PixelReconstructionLoss(norm_pix='channel')`.

    Args:
        neck: Decoder that predicts the masked patches from the encoded ones, such as `MAEDecoder`.
        reconstruction: Loss of predicted and true patches, such as `PixelReconstructionLoss`.
        model: Arguments of `FeatureModel`.
    """
