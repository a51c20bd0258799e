# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Masks of tubes. B batch, t h w the patch grid, N = t*h*w."""

import torch
from torch import Tensor

from vicmae.registry import MODELS

from ..layers import Grid
from .random import Mask, RandomMasking


@MODELS.register_module()
class TubeMasking(RandomMasking):
    """Masks random places of the frame, the same ones in all time steps (VideoMAE, https://arxiv.org/abs/2203.12602).

    A masked patch can't be copied from the time step before. Of h*w places, int(mask_ratio * h*w) are masked. An image
    has one time step, and is masked at random.

    Args:
        mask_ratio: Share of places that are masked, in [0, 1).
    """

    def __init__(self, mask_ratio: float = 0.9) -> None:
        super().__init__(mask_ratio)

    def count_kept(self, num_patches: int) -> int:
        """Returns how many of `num_patches` places are kept, at least one."""
        return num_patches - int(num_patches * self.mask_ratio)

    def forward(
        self, batch_size: int, grid: Grid, device: torch.device, seeds: Tensor | None = None
    ) -> Mask:
        """Draws a mask of one time step for each sample, and repeats it along time."""
        num_times, area = grid[0], grid[1] * grid[2]
        places = super().forward(batch_size, (1, *grid[1:]), device, seeds)
        first = torch.arange(num_times, device=places.ids_keep.device).view(-1, 1) * area
        ids_keep, ids_masked = (  # (B, K/t) -> (B, K)
            (ids.unsqueeze(1) + first).flatten(1) for ids in (places.ids_keep, places.ids_masked)
        )
        return Mask(ids_keep, ids_masked, torch.cat([ids_keep, ids_masked], dim=1).argsort(dim=1))
