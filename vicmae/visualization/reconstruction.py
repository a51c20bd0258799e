# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Pictures of reconstructions.

B batch, C channels, T H W frames and pixels, N patches, M masked, P values per patch, F frames that are shown.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vicmae.errors import ConfigError
from vicmae.models.algorithms import BasePretrainer
from vicmae.models.layers import gather_tokens, unpatchify
from vicmae.models.losses import denormalize_patches

_FRAMES_SHOWN = 4  # of a clip
_READABLE_SIDE = 160  # pixels
_TITLE_HEIGHT = 24
_TITLES = ('input', 'masked', 'reconstruction')


class Reconstructions(NamedTuple):
    """Pictures of a batch, each (B, H, W, 3), uint8, RGB. That of a clip is a row of frames, (B, H, F*W, 3).

    Attributes:
        original: The input of the model.
        masked: The input with masked patches in gray.
        output: The input with predictions for the masked patches.
    """

    original: np.ndarray
    masked: np.ndarray
    output: np.ndarray


@torch.no_grad()
def draw_reconstructions(model: Any, frames: Tensor, *, seed: int = 0) -> Reconstructions:
    """Masks uint8 images or clips, lets a model in evaluation mode predict the masked patches, and draws all three.

    A model that predicts normalised patches (`norm_pix`) doesn't predict their mean and variance: these are taken from
    the true patches. Of a clip, evenly spaced frames are drawn, among those that the model predicts.

    Shape:
        (B, C, H, W) -> three arrays (B, H, W, C)
        (B, T, C, H, W) -> three arrays (B, H, F*W, C)
    """
    if not isinstance(model, BasePretrainer):
        raise ConfigError(
            f'A {type(model).__name__} reconstructs nothing. Give a pretraining config with its checkpoint.'
        )
    device = next(model.parameters()).device
    preprocessor = model.data_preprocessor
    views = preprocessor.normalize(frames.to(device))
    views = views.transpose(1, 2) if views.ndim == 5 else views
    with torch.random.fork_rng(devices=[device] if device.type == 'cuda' else []):
        torch.manual_seed(seed)
        predicted, patches, ids_masked = model.reconstruct(views)
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
        shown = min(pixels.shape[2], _FRAMES_SHOWN) if views.ndim == 5 else 1
        steps = torch.linspace(0, pixels.shape[2] - 1, shown).long()
        pictures = preprocessor.denormalize(pixels[:, :, steps].transpose(1, 2))
        return rearrange(pictures, 'b t c h w -> b h (t w) c').cpu().numpy()

    return Reconstructions(draw(None), draw(gray), draw(predicted))


def save_grid(
    drawn: Reconstructions, path: Path, *, columns: int = 3, zoom: int | None = None
) -> None:
    """Draws titled triples of input, masked and reconstruction into one picture file, so many side by side.

    Without `zoom`, small pictures are enlarged to at least 160 pixels.
    """
    side = min(drawn.original.shape[1:3])
    zoom = zoom or max(1, -(-_READABLE_SIDE // side))
    gap = 4 * zoom
    triples = [
        np.concatenate(triple, axis=1).repeat(zoom, axis=0).repeat(zoom, axis=1)
        for triple in zip(*drawn, strict=True)
    ]
    height, width = triples[0].shape[:2]
    columns = min(columns, len(triples))
    rows = -(-len(triples) // columns)
    top = _TITLE_HEIGHT
    shape = (top + rows * (height + gap) - gap, columns * (width + 2 * gap) - 2 * gap, 3)
    sheet = np.full(shape, 255, np.uint8)
    for n, triple in enumerate(triples):
        row, column = divmod(n, columns)
        y, x = top + row * (height + gap), column * (width + 2 * gap)
        sheet[y : y + height, x : x + width] = triple
    image = Image.fromarray(sheet)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(min(14, max(6, width // 24)))
    for column in range(columns):
        for n, title in enumerate(_TITLES):
            place = (column * (width + 2 * gap) + (2 * n + 1) * width / 6, top / 2)
            draw.text(place, title, fill='black', font=font, anchor='mm')
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
