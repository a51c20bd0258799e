# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Fixed sine-cosine position embeddings. h w the patch grid, N = h*w, D width."""

import math
import warnings

import torch
from mmpretrain.models.utils import resize_pos_embed as mmpretrain_resize
from torch import Tensor

from vicmae.errors import CheckpointError

from .patchify import Grid


def sincos_pos_embed(
    grid: tuple[int, int], embed_dim: int, *, num_prefix_tokens: int = 0
) -> Tensor:
    """Builds MAE's fixed 2D embedding: one half of the width encodes the column, the other the row.

    Each half holds the sines, then the cosines, of position / 10000^(i / (D/4)).
    mmpretrain's `build_2d_sincos_position_embedding` counts down the columns of the grid, where patches
    run along its rows: on a square grid that swaps the halves, on others it is wrong. Hence our own.

    Args:
        grid: Rows and columns of patches.
        embed_dim: Width, a multiple of four.
        num_prefix_tokens: Zero rows put in front (a class token has no position).

    Shape:
        -> (1, num_prefix_tokens + N, D)

    Example:
        >>> sincos_pos_embed((2, 3), 8, num_prefix_tokens=1).shape
        torch.Size([1, 7, 8])
    """
    if embed_dim % 4:
        raise ValueError(
            f'A sine-cosine position embedding needs a width that four divides, got {embed_dim}.'
        )
    rows, columns = torch.meshgrid(
        torch.arange(grid[0], dtype=torch.float64),
        torch.arange(grid[1], dtype=torch.float64),
        indexing='ij',
    )
    quarter = embed_dim // 4
    frequencies = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = [axis.flatten()[:, None] * frequencies for axis in (columns, rows)]  # each (N, D/4)
    table = torch.cat([part for a in angles for part in (a.sin(), a.cos())], dim=1)  # (N, D)
    prefix = torch.zeros(num_prefix_tokens, embed_dim, dtype=torch.float64)
    return torch.cat([prefix, table])[None].float()


def resize_pos_embed(
    pos_embed: Tensor, source: Grid, target: Grid, *, num_prefix_tokens: int, mode: str = 'bicubic'
) -> Tensor:
    """Interpolates a table to another grid; the same grid gives the same table.

    The frozen table could be built anew, but a trained model knows the positions of its own grid alone:
    a larger image has to look like the same one, drawn finer.

    Shape:
        (1, num_prefix_tokens + N, D) -> (1, num_prefix_tokens + N', D)
    """
    if source == target:
        return pos_embed
    return mmpretrain_resize(
        pos_embed, source[1:], target[1:], mode=mode, num_extra_tokens=num_prefix_tokens
    )


def fit_pos_embed(
    loaded: Tensor,
    grid: Grid,
    *,
    num_prefix_tokens: int,
    mode: str = 'bicubic',
    warn: bool = False,
) -> Tensor:
    """Brings the table of a checkpoint to a model's grid.

    Args:
        loaded: The checkpoint's, for a grid that is read off the table itself.
        grid: The model's grid.
        num_prefix_tokens: Rows in front that stand for no patch.
        mode: Of interpolation.
        warn: Whether to tell of it.

    Shape:
        (1, num_prefix_tokens + N, D) -> (1, num_prefix_tokens + N', D)
    """
    if loaded.shape[1] == num_prefix_tokens + math.prod(grid):
        return loaded
    source = grid_of_table(loaded[0, num_prefix_tokens:])
    if warn:
        warn_of_resizing(source, grid)
    return resize_pos_embed(loaded, source, grid, num_prefix_tokens=num_prefix_tokens, mode=mode)


def grid_of_table(table: Tensor) -> Grid:
    """Which grid a table (N, D) belongs to: a square, or what its sines and cosines say of another."""
    num_patches = len(table)
    column_half, row_half = table.chunk(2, dim=1)
    columns = int((row_half == row_half[0]).all(dim=1).sum())  # patches of the first row
    side = math.isqrt(num_patches)
    numbered = len(column_half[:columns].unique(dim=0)) == columns > 1
    if numbered and num_patches % columns == 0:
        return (1, num_patches // columns, columns)
    if side * side == num_patches:
        return (1, side, side)
    raise CheckpointError(
        f'The position embeddings of the checkpoint are for {num_patches} patches, which is no square, and '
        'are no sines and cosines that would say how many of them make a row.'
    )


def warn_of_resizing(source: Grid, target: Grid) -> None:
    """Tells that position embeddings were made for another grid."""
    warnings.warn(
        f'Position embeddings are resized from {source[1]}x{source[2]} to {target[1]}x{target[2]} patches.',
        stacklevel=2,
    )
