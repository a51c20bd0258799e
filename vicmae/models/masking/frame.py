# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Masks of whole frames. B batch, t h w the patch grid, N = t*h*w."""

from torch import Tensor

from vicmae.registry import MODELS

from ..layers import Grid
from .random import RandomMasking, places


@MODELS.register_module()
class FrameMasking(RandomMasking):
    """Masks whole frames of a clip, in random order ("time-only" in https://arxiv.org/abs/2205.09113).

    The last frame may be masked in part, at random patches, to reach the ratio. It is for backbones that encode clips:
    for an image, which is a single frame, it is equal to `RandomMasking`.

    Args:
        mask_ratio: Share of patches that are masked, in [0, 1).
    """

    def rank(self, noise: Tensor, grid: Grid, seeds: Tensor | None = None) -> Tensor:
        """Orders patches by frame: (B, N) -> (B, N)."""
        noise = noise.unflatten(1, (grid[0], -1))  # (B, t, h*w)
        # The mean is symmetric in the patches of a frame: the order of frames is independent of the order within them.
        frames = places(noise.mean(dim=2)).unsqueeze(2)
        return (frames * noise.shape[2] + places(noise)).flatten(1)
