# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Fixed sine-cosine position embeddings. t h w the patch grid, N = h*w, D width."""

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
    """Computes MAE's fixed 2D embedding: one half of the width encodes the column, the other the row.

    Each half has the sines, then the cosines, of position / 10000^(i / (D/4)). Prefix tokens get zeros. (mmpretrain's
    `build_2d_sincos_position_embedding` swaps the halves on square grids, and is wrong on others.)

    Shape:
        -> (1, num_prefix_tokens + N, D)

    Example:
        >>> sincos_pos_embed((2, 3), 8, num_prefix_tokens=1).shape
        torch.Size([1, 7, 8])
    """
    if embed_dim % 4:
        raise ValueError(
            f'A sine-cosine position embedding needs a width that is a multiple of 4, got {embed_dim}.'
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
    """Interpolates position embeddings (1, num_prefix_tokens + N, D) to another grid.

    They can't be computed again, as a trained model knows only the positions of its grid.
    """
    if source == target:
        return pos_embed
    return mmpretrain_resize(
        pos_embed, source[1:], target[1:], mode=mode, num_extra_tokens=num_prefix_tokens
    )


def grid_of_table(table: Tensor, *, otherwise: Grid, name: str = 'pos_embed') -> Grid:
    """Detects the grid of sine-cosine position embeddings (N, D), also of resized ones.

    The grid of learned ones is `otherwise` if the number of patches is equal, else a square.

    Args:
        table: Position embeddings of the patches.
        otherwise: Grid of the model.
        name: Key of the embeddings in the checkpoint, for errors.
    """
    num_patches = len(table)
    by_column, by_row = table.float().chunk(2, dim=1)
    columns = int(_near(by_row, by_row[:1]).sum())  # patches of the first row
    if num_patches % columns == 0:
        rows = num_patches // columns
        by_column, by_row = (half.unflatten(0, (rows, columns)) for half in (by_column, by_row))
        along_rows = _near(by_row, by_row[:, :1]).all() and _near(by_column, by_column[:1]).all()
        numbered = columns == 1 or not _near(by_column[0, 0], by_column[0, 1])
        if along_rows and numbered:
            return (1, rows, columns)
    side = math.isqrt(num_patches)
    if num_patches == math.prod(otherwise):
        return otherwise
    if side * side == num_patches:
        return (1, side, side)
    raise CheckpointError(
        f'`{name}` of the checkpoint (learned, or a sinusoid) is for {num_patches} patches, which is neither the '
        f"model's grid of {otherwise[1]}x{otherwise[2]} nor a square. Use the config of its training: another method "
        'may have a class token (`model.backbone.with_cls_token`) or another image size.'
    )


def _near(a: Tensor, b: Tensor) -> Tensor:
    """Compares vectors, with a tolerance for the rounding of an interpolation."""
    return (a - b).abs().amax(dim=-1) < 5e-3


def warn_of_resizing(source: Grid, target: Grid) -> None:
    """Warns that position embeddings are resized. Grids of images are shown without time."""
    first = 1 if source[0] == target[0] == 1 else 0
    old, new = ('x'.join(map(str, grid[first:])) for grid in (source, target))
    warnings.warn(f'Position embeddings are resized from {old} to {new} patches.', stacklevel=2)
