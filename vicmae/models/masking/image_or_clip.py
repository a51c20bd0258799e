# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Masks that differ for images and clips. B batch."""

from typing import Any

import torch
from torch import Tensor, nn

from vicmae.registry import MODELS

from ..layers import Grid
from .random import Mask


@MODELS.register_module()
class ImageOrClipMasking(nn.Module):
    """Masks images and clips in two ways, for models that are trained on both (OmniMAE).

    A grid of one time step is that of an image.

    Args:
        image: Masking of images, such as `RandomMasking`.
        clip: Masking of clips, such as `TubeMasking`.
    """

    nested_parts = ('image', 'clip')

    def __init__(self, *, image: nn.Module, clip: nn.Module) -> None:
        super().__init__()
        self.image = image
        self.clip = clip

    def require_kept(self, grid: Grid) -> None:
        """Raises a ValueError if no patch of an image or of a clip is kept."""
        parts: list[tuple[Any, int]] = [(self.image, 1), (self.clip, grid[0])]
        for masking, times in parts:
            if hasattr(masking, 'require_kept'):
                masking.require_kept((times, *grid[1:]))

    def forward(
        self, batch_size: int, grid: Grid, device: torch.device, seeds: Tensor | None = None
    ) -> Mask:
        """Draws a mask of `grid` for each sample. With `seeds`, int64 (B,), it depends only on the sample's seed."""
        masking = self.image if grid[0] == 1 else self.clip
        return masking(batch_size, grid, device, seeds)
