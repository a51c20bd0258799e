# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What the decoder makes of a picture. B batch, C channels, H W pixels, N patches, M masked, P values per patch."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vicmae.errors import ConfigError
from vicmae.models.algorithms import BasePretrainer
from vicmae.models.layers import gather_tokens, unpatchify
from vicmae.models.losses import denormalize_patches


class Reconstructions(NamedTuple):
    """Pictures of a batch, each (B, H, W, 3), uint8, RGB.

    Attributes:
        original: What the model was given.
        masked: With the patches that it didn't see in gray.
        output: With these replaced by what it predicts.
    """

    original: np.ndarray
    masked: np.ndarray
    output: np.ndarray


@torch.no_grad()
def draw_reconstructions(model: Any, frames: Tensor, *, seed: int = 0) -> Reconstructions:
    """Masks frames, lets the model predict what is hidden, and draws all three.

    A model that predicts patches normalised by their own mean and variance (`norm_pix`) doesn't predict
    these: they are taken from the true patches.

    Args:
        model: A `ViCMAE` or `MAE` in evaluation mode.
        frames: Frames, uint8.
        seed: Seed of the masks.

    Shape:
        (B, C, H, W) -> three arrays (B, H, W, C)
    """
    if not isinstance(model, BasePretrainer):
        raise ConfigError(
            f'A {type(model).__name__} reconstructs nothing. Give the config of a pretraining, with its checkpoint.'
        )
    device = next(model.parameters()).device
    preprocessor = model.data_preprocessor
    views = preprocessor.normalize(frames.to(device))
    with torch.random.fork_rng(devices=[device] if device.type == 'cuda' else []):
        torch.manual_seed(seed)
        predicted, patches, ids_masked = model.reconstruct(views)
    if model.pixel_loss.norm_pix:
        predicted = denormalize_patches(predicted, gather_tokens(patches, ids_masked))
    gray = torch.zeros_like(predicted)  # the mean colour, once denormalised

    def draw(hidden: Tensor) -> np.ndarray:
        where = ids_masked.unsqueeze(-1).expand_as(hidden)
        filled = patches.scatter(1, where, hidden)  # (B, N, P)
        pictures = unpatchify(filled, model.backbone.patch_size, model.backbone.grid_of(views))
        uint8 = preprocessor.denormalize(pictures.squeeze(2))
        return uint8.permute(0, 2, 3, 1).cpu().numpy()

    originals = frames.permute(0, 2, 3, 1).cpu().numpy()
    return Reconstructions(originals, draw(gray), draw(predicted.to(patches.dtype)))


def save_grid(drawn: Reconstructions, path: Path, *, columns: int = 3, zoom: int = 1) -> None:
    """Draws triples of input, masked and output into one picture file.

    Args:
        drawn: The pictures.
        path: The file; its ending says the format.
        columns: Samples side by side.
        zoom: Pixels drawn for each pixel of a picture.
    """
    gap = 4
    triples = [np.concatenate(triple, axis=1) for triple in zip(*drawn, strict=True)]
    height, width = triples[0].shape[:2]
    rows = -(-len(triples) // columns)
    sheet = np.full(
        (rows * (height + gap) - gap, columns * (width + 2 * gap) - 2 * gap, 3), 255, np.uint8
    )
    for n, triple in enumerate(triples):
        top, left = n // columns * (height + gap), n % columns * (width + 2 * gap)
        sheet[top : top + height, left : left + width] = triple
    picture = Image.fromarray(sheet)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST).save(
        path
    )
