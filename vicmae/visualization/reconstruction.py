# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Pictures of reconstructions.

B batch, C channels, T H W frames and pixels, N patches, M masked, P values per patch.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vicmae.errors import ConfigError
from vicmae.models.algorithms import BasePretrainer
from vicmae.models.layers import gather_tokens, unpatchify
from vicmae.models.losses import denormalize_patches


class Reconstructions(NamedTuple):
    """Pictures of a batch, each (B, H, W, 3), uint8, RGB. Those of clips are (B, T, H, W, 3).

    Attributes:
        original: The input of the model.
        masked: The input with masked patches in gray.
        output: The input with predictions for the masked patches.
    """

    original: np.ndarray
    masked: np.ndarray
    output: np.ndarray


def require_decoder(model: Any) -> None:
    """Raises a ConfigError if a model reconstructs no pixels."""
    if not isinstance(model, BasePretrainer):
        raise ConfigError(
            f'A {type(model).__name__} reconstructs nothing. Give a pretraining config with its checkpoint.'
        )
    model.require_decoder()


@torch.no_grad()
def draw_reconstructions(
    model: Any, frames: Tensor, *, seed: int = 0, same_masks: bool = False
) -> Reconstructions:
    """Masks uint8 images or clips, lets a model in evaluation mode predict the masked patches, and draws all three.

    A model that predicts normalised patches (`norm_pix`) doesn't predict their mean and variance: these are taken from
    the true patches. Of a clip, the frames are drawn that the model predicts: all of them, or one of each tubelet.

    Args:
        model: A method of pretraining with a decoder.
        frames: Images or clips.
        seed: Seed of the first mask. That of the next sample is the next number.
        same_masks: Whether all samples have the first mask.

    Shape:
        (B, C, H, W) -> three arrays (B, H, W, C)
        (B, T, C, H, W) -> three arrays (B, T, H, W, C)
    """
    require_decoder(model)
    preprocessor = model.data_preprocessor
    views = preprocessor.normalize(frames.to(next(model.parameters()).device))
    views = views.transpose(1, 2) if views.ndim == 5 else views
    seeds = torch.full((len(views),), seed, device=views.device)
    if not same_masks:
        seeds += torch.arange(len(views), device=views.device)
    predicted, patches, ids_masked = model.reconstruct(views, seeds)
    if model.pixel_loss.norm_pix:
        num_channels = getattr(model.pixel_loss, 'num_channels', 1)
        hidden = gather_tokens(patches, ids_masked)
        predicted = denormalize_patches(predicted, hidden, num_channels)
    gray = torch.zeros_like(predicted)  # the mean colour, once denormalised
    grid = model.backbone.grid_of(views)

    def draw(values: Tensor | None) -> np.ndarray:
        filled = patches
        if values is not None:
            ids = ids_masked.unsqueeze(-1).expand_as(values)
            filled = patches.scatter(1, ids, values.to(patches.dtype))  # (B, N, P)
        pixels = unpatchify(filled, model.predicted_patch_size, grid)  # (B, C, T, H, W)
        if views.ndim == 4:
            pixels = pixels[:, :, :1]  # a model of clips repeats an image to a tubelet
        pictures = preprocessor.denormalize(pixels.transpose(1, 2)).movedim(2, -1)
        return (pictures if views.ndim == 5 else pictures[:, 0]).cpu().numpy()

    return Reconstructions(draw(None), draw(gray), draw(predicted))
