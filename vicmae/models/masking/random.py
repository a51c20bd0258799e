# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Random masks. B batch, t h w the patch grid, N = t*h*w patches, K kept, M = N - K masked."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vicmae.registry import MODELS

from ..layers import Grid
from .uniform import uniform


class Mask(NamedTuple):
    """One mask per sample, as positions in the patch grid."""

    ids_keep: Tensor  # patches that the encoder sees, in the order of its tokens, (B, K)
    ids_masked: Tensor  # the others, in grid order, (B, M)
    ids_restore: Tensor  # position of each patch of the grid in [kept, masked], (B, N)

    @property
    def visible(self) -> Tensor:
        """Mask that is True where the encoder sees the patch, (B, N)."""
        return self.ids_restore < self.ids_keep.shape[1]


@MODELS.register_module()
class RandomMasking(nn.Module):
    """Masks a fixed share of random patches, drawn uniformly for each sample (MAE, ViC-MAE).

    Args:
        mask_ratio: Share of patches that are masked, in [0, 1). ViC-MAE's paper uses 0.75, its code 0.5.
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
        """Draws a number for each patch. Those with the lowest numbers are kept. Override it to fix the mask."""
        return uniform(batch_size, num_patches, device, seeds)

    def count_kept(self, num_patches: int) -> int:
        """Returns how many of `num_patches` patches are kept, at least one."""
        num_keep = int(num_patches * (1 - self.mask_ratio))
        if num_keep == 0:
            raise ValueError(
                f'`mask_ratio` {self.mask_ratio} of {num_patches} patches leaves none to encode. '
                'Lower it, or use larger images or smaller patches.'
            )
        return num_keep

    def require_kept(self, grid: Grid) -> None:
        """Raises a ValueError if no patch of a grid is kept."""
        self.count_kept(math.prod(grid))

    def rank(self, noise: Tensor, grid: Grid, seeds: Tensor | None = None) -> Tensor:
        """Changes the order in which patches are kept. Here it is that of the noise: (B, N) -> (B, N)."""
        return noise

    def forward(
        self, batch_size: int, grid: Grid, device: torch.device, seeds: Tensor | None = None
    ) -> Mask:
        """Draws a mask of `grid` for each sample. With `seeds`, int64 (B,), it depends only on the sample's seed."""
        num_patches = math.prod(grid)
        num_keep = self.count_kept(num_patches)
        noise = self.noise(batch_size, num_patches, device, seeds)
        ids_shuffle = self.rank(noise, grid, seeds).argsort(dim=1, stable=True)
        ids_keep = ids_shuffle[:, :num_keep]
        ids_masked = ids_shuffle[:, num_keep:].sort(dim=1).values  # in grid order
        ids_restore = torch.cat([ids_keep, ids_masked], dim=1).argsort(dim=1)
        return Mask(ids_keep, ids_masked, ids_restore)

    def extra_repr(self) -> str:
        return f'mask_ratio={self.mask_ratio}'


def places(values: Tensor) -> Tensor:
    """Ranks the values of the last dimension from 0, the smallest."""
    # Stable, since devices differ in the order of equal values, which occur in one of fourteen clips.
    return values.argsort(dim=-1, stable=True).argsort(dim=-1)
