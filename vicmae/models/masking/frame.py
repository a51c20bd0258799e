# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Masks that hide whole frames. B batch, t h w the patch grid, N = t*h*w."""

from torch import Tensor

from vicmae.registry import MODELS

from ..layers import Grid
from .random import RandomMasking, places


@MODELS.register_module()
class FrameMasking(RandomMasking):
    """Hides whole frames of a clip, in random order ("time-only" in https://arxiv.org/abs/2205.09113).

    At most one frame is hidden in part, at random within it: where the ratio ends inside a frame. An image has a
    single frame, so there it is `RandomMasking`; it is meant for backbones that encode clips.

    Args:
        mask_ratio: Share of patches hidden, in [0, 1).
    """

    def rank(self, noise: Tensor, grid: Grid, seeds: Tensor | None = None) -> Tensor:
        """Orders patches by frame first.

        Shape:
            (B, N) -> (B, N)
        """
        noise = noise.unflatten(1, (grid[0], -1))  # (B, t, h*w)
        # The mean treats a frame's patches alike, so it orders frames and says nothing on the order within one.
        frames = places(noise.mean(dim=2)).unsqueeze(2)
        return (frames * noise.shape[2] + places(noise)).flatten(1)
