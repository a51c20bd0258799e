# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Masks of rectangles. B batch, R rectangles, t h w the patch grid, N = t*h*w."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vicmae.registry import MODELS

from ..layers import Grid
from .random import RandomMasking, places
from .uniform import uniform

_RECTANGLES = 1  # stream of random numbers; the noise has stream 0


@MODELS.register_module()
class BlockMasking(RandomMasking):
    """Masks rectangles of patches, one after the other, until the ratio is reached.

    As in BEiT (https://arxiv.org/abs/2106.08254). In MAE (https://arxiv.org/abs/2111.06377) it is worse than random
    masking at high ratios. All frames of a clip have the same rectangles. The number of masked patches is that of
    `RandomMasking`: only a random part of the last rectangle, or of the uncovered patches if there is no further
    rectangle, is masked.

    Args:
        mask_ratio: Share of patches that are masked, in [0, 1).
        scale: Smallest and largest area of a rectangle, as a share of the grid, in (0, 1], before rounding to patches.
        ratio: Smallest and largest height over width of a rectangle, in patches.
    """

    def __init__(
        self,
        mask_ratio: float = 0.75,
        *,
        scale: tuple[float, float] = (0.05, 0.2),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
    ) -> None:
        super().__init__(mask_ratio)
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(
                f'`scale` must be two shares of the area in (0, 1], in ascending order, got {scale}. '
                'Give fractions: (0.05, 0.2) is a twentieth to a fifth.'
            )
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(
                f'`ratio` must be two positive numbers, in ascending order, got {ratio}. '
                'Give heights over widths: (0.5, 2) is twice as wide to twice as high.'
            )
        self.scale, self.ratio = tuple(scale), tuple(ratio)
        # Each rectangle leaves about 1 - scale of the uncovered area. Four times the number that this needs, since
        # patches at the border are covered less often.
        self.num_rectangles = 1 + math.ceil(8 * -math.log1p(-mask_ratio) / sum(scale))

    def rank(self, noise: Tensor, grid: Grid, seeds: Tensor | None = None) -> Tensor:
        """Orders uncovered patches first, then the others by the first rectangle that covers them: (B, N) -> (B, N)."""
        noise = noise.unflatten(1, (grid[0], -1))  # (B, t, h*w)
        num_frames, area = noise.shape[1:]
        covered = self.first_rectangle(noise.shape[0], grid[1:], noise.device, seeds).flatten(1)
        # Order by position in the grid, then by frame, so that all frames have equal masks.
        cells = places(places(noise.mean(dim=1)) - area * covered)  # (B, h*w)
        frames = places(noise.transpose(1, 2)).transpose(1, 2)
        return (cells.unsqueeze(1) * num_frames + frames).flatten(1)

    def first_rectangle(
        self,
        batch_size: int,
        grid: tuple[int, int],
        device: torch.device,
        seeds: Tensor | None = None,
    ) -> Tensor:
        """Draws rectangles, and returns the number of the first one that covers each position, or R: (B, h, w)."""
        height, width = grid
        numbers = uniform(batch_size, 4 * self.num_rectangles, device, seeds, _RECTANGLES)
        share, shape, *corner = numbers.unflatten(1, (4, -1)).unbind(1)  # (B, R) each
        patches = _between(self.scale, share) * height * width
        aspect = _between((math.log(self.ratio[0]), math.log(self.ratio[1])), shape).exp()
        rows = _interval((patches * aspect).sqrt(), corner[0], height)  # (B, R, h)
        columns = _interval((patches / aspect).sqrt(), corner[1], width)  # (B, R, w)
        inside = rows.unsqueeze(3) & columns.unsqueeze(2)  # (B, R, h, w)
        order = torch.arange(self.num_rectangles, dtype=torch.int32, device=device).view(-1, 1, 1)
        return torch.where(inside, order, self.num_rectangles).amin(dim=1)

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, scale={self.scale}, ratio={self.ratio}'


def _between(ends: Sequence[float], uniform: Tensor) -> Tensor:
    low, high = ends
    return low + (high - low) * uniform


def _interval(length: Tensor, uniform: Tensor, size: int) -> Tensor:
    """Draws intervals that lie inside `size` positions, (B, R) -> True where covered, (B, R, size)."""
    length = length.round().clamp(1, size)
    start = (uniform * (size - length + 1)).floor()
    position = torch.arange(size, device=length.device)
    start, end = start.unsqueeze(2), (start + length).unsqueeze(2)
    return (position >= start) & (position < end)
