# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What a backbone computes for the patches of an image or a clip.

C channels, T H W frames and pixels, t h w the patch grid, D width. For a model of images, each frame is a time step.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vicmae.errors import ConfigError
from vicmae.models.backbones import MaskedViT
from vicmae.models.feature_model import FeatureModel


class Look(NamedTuple):
    """Patches of one image or clip.

    Attributes:
        frames: The input of the model, (T, H, W, 3), uint8, RGB.
        tokens: Tokens of the patches, (t, h, w, D).
        attention: Share of the attention that each patch gets in the last layer, (t, h, w): that of the class token or,
            without one, of the mean patch.
    """

    frames: np.ndarray
    tokens: Tensor
    attention: Tensor


def require_vit(model: Any) -> None:
    """Raises a ConfigError if a model has no patches to look at."""
    if not isinstance(model, FeatureModel) or not isinstance(model.backbone, MaskedViT):
        backbone = type(getattr(model, 'backbone', None)).__name__
        raise ConfigError(
            f'Only models of vicmae with a MaskedViT can be looked into, got a {type(model).__name__} with the '
            f'backbone {backbone}.'
        )


@torch.no_grad()
def look_inside(model: Any, frames: Tensor) -> Look:
    """Encodes an image or a clip without masking, by a model in evaluation mode: (T, C, H, W), uint8."""
    require_vit(model)
    backbone = model.backbone
    views = model.data_preprocessor.normalize(frames.to(next(model.parameters()).device))
    if backbone.takes_clips:
        views = views.transpose(0, 1)[None]  # (T, C, H, W) -> (1, C, T, H, W)
    tokens, weights = backbone.encode_with_attention(views)
    patches, prefix = backbone.split_prefix(tokens)
    num_prefix = prefix.shape[1]
    queries = weights[:, :, :num_prefix] if num_prefix else weights
    attention = queries.mean(dim=(1, 2))[:, num_prefix:]  # (B, N), mean over heads and queries

    def as_grid(values: Tensor) -> Tensor:
        return values.unflatten(1, backbone.grid_of(views)).flatten(0, 1).float().cpu()

    pictures = frames.movedim(1, -1).cpu().numpy()
    return Look(pictures, as_grid(patches), as_grid(attention))
