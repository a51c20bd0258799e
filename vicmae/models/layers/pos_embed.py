# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Fixed sine-cosine position embeddings. h w the patch grid, N = h*w, D width."""

import torch
from torch import Tensor


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
