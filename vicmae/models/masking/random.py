# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Which patches the encoder sees. B batch, t h w the patch grid, N = t*h*w patches, K kept, M = N - K masked."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vicmae.registry import MODELS

from ..layers import Grid
from .uniform import uniform


class Mask(NamedTuple):
    """One mask per sample, as positions in the patch grid.

    Attributes:
        ids_keep: Patches that the encoder sees, in the order in which it sees them, (B, K).
        ids_masked: The others, in grid order, (B, M).
        ids_restore: Where each patch of the grid lies in [kept, masked], (B, N).
    """

    ids_keep: Tensor
    ids_masked: Tensor
    ids_restore: Tensor

    @property
    def visible(self) -> Tensor:
        """True where the encoder sees the patch, (B, N)."""
        return self.ids_restore < self.ids_keep.shape[1]


@MODELS.register_module()
class RandomMasking(nn.Module):
    """Hides the same share of patches in every sample, drawn uniformly and independently (MAE, ViC-MAE).

    Args:
        mask_ratio: Share of patches hidden, in [0, 1). ViC-MAE's paper hides 0.75, its code 0.5.
    """

    def __init__(self, mask_ratio: float = 0.75) -> None:
        super().__init__()
        if not 0 <= mask_ratio < 1:
            raise ValueError(
                f'`mask_ratio` must be in [0, 1), got {mask_ratio}. '
                'Give a fraction: 0.75 keeps a quarter of the patches.'
            )
        self.mask_ratio = mask_ratio

    def noise(
        self, batch_size: int, num_patches: int, device: torch.device, seeds: Tensor | None = None
    ) -> Tensor:
        """Draws what decides the mask: the patches with the lowest values are kept. Replace it to fix the mask."""
        return uniform(batch_size, num_patches, device, seeds)

    def count_kept(self, num_patches: int) -> int:
        """How many of so many patches are visible; none at all is refused."""
        num_keep = int(num_patches * (1 - self.mask_ratio))
        if num_keep == 0:
            raise ValueError(
                f'`mask_ratio` {self.mask_ratio} of {num_patches} patches leaves none to encode. '
                'Lower it, or use larger images or smaller patches.'
            )
        return num_keep

    def rank(self, noise: Tensor, grid: Grid, seeds: Tensor | None = None) -> Tensor:
        """Brings structure into the noise: the patches of lowest rank are kept. Here there is none.

        Shape:
            (B, N) -> (B, N)
        """
        return noise

    def forward(
        self, batch_size: int, grid: Grid, device: torch.device, seeds: Tensor | None = None
    ) -> Mask:
        """Draws one mask per sample, of `grid` patches along time, height and width.

        With `seeds`, int64 (B,), each mask follows from the sample's seed alone.
        """
        num_patches = math.prod(grid)
        num_keep = self.count_kept(num_patches)
        noise = self.noise(batch_size, num_patches, device, seeds)
        ids_shuffle = self.rank(noise, grid, seeds).argsort(dim=1, stable=True)
        # From here on the order of the masked ones is free: grid order, so that predictions are too.
        ids_keep, ids_masked = (
            ids_shuffle[:, :num_keep],
            ids_shuffle[:, num_keep:].sort(dim=1).values,
        )
        ids_restore = torch.cat([ids_keep, ids_masked], dim=1).argsort(dim=1)
        return Mask(ids_keep, ids_masked, ids_restore)

    def extra_repr(self) -> str:
        return f'mask_ratio={self.mask_ratio}'


def places(values: Tensor) -> Tensor:
    """Numbers each value of the last dimension by its place among them, the smallest 0."""
    # Stable: devices differ in the order of equal values, and a clip's noise has some in one sample of fourteen.
    return values.argsort(dim=-1, stable=True).argsort(dim=-1)
