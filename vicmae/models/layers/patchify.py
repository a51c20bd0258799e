# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Cuts pixels into patches and joins them again.

B batch, C channels, T H W frames and pixels, t h w the patch grid, N = t*h*w, P values per patch.
"""

from einops import rearrange
from torch import Tensor

PatchSize = tuple[int, int, int]
Grid = tuple[int, int, int]


def as_clip(pixels: Tensor) -> Tensor:
    """Converts images (B, C, H, W) to clips of one frame (B, C, 1, H, W). Returns clips unchanged."""
    return pixels.unsqueeze(2) if pixels.ndim == 4 else pixels


def patchify(pixels: Tensor, patch_size: PatchSize) -> Tensor:
    """Cuts clips into non-overlapping patches, in grid order.

    The values of a patch are ordered (frame, row, column, channel), as in MAE, so that MAE's decoders can be loaded.
    `patch_size` is the number of frames, rows and columns of a patch.

    Shape:
        (B, C, T, H, W) or (B, C, H, W) -> (B, N, P)

    Example:
        >>> import torch
        >>> patchify(torch.zeros(2, 3, 32, 32), (1, 8, 8)).shape
        torch.Size([2, 16, 192])
    """
    pt, ph, pw = patch_size
    pattern = 'b c (t pt) (h ph) (w pw) -> b (t h w) (pt ph pw c)'
    return rearrange(as_clip(pixels), pattern, pt=pt, ph=ph, pw=pw)


def unpatchify(patches: Tensor, patch_size: PatchSize, grid: Grid) -> Tensor:
    """Joins patches in grid order: the inverse of `patchify` on clips: (B, N, P) -> (B, C, T, H, W)."""
    pt, ph, pw = patch_size
    t, h, w = grid
    pattern = 'b (t h w) (pt ph pw c) -> b c (t pt) (h ph) (w pw)'
    return rearrange(patches, pattern, t=t, h=h, w=w, pt=pt, ph=ph, pw=pw)


def gather_tokens(tokens: Tensor, ids: Tensor) -> Tensor:
    """Picks tokens by position, sample by sample: (B, N, D), (B, K) -> (B, K, D)."""
    return tokens.gather(1, ids.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
