# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Learned position embeddings of clips, added to those of images.

t h w the patch grid, S vectors per time step: 1 (separable) or h*w (joint), D width.
"""

import math
import warnings
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from .patchify import Grid

# Their types, and the names of the parameters, of shape (1, t, D) and (1, t*h*w, D).
TIME_TABLES = {'separable': 'temporal_pos_embed', 'joint': 'joint_pos_embed'}


def resize_pos_embed_along_time(
    table: Tensor, source: Grid, target: Grid, *, mode: str = 'bicubic'
) -> Tensor:
    """Interpolates position embeddings to another grid, then linearly in time: (1, t, S, D) -> (1, t', S', D)."""
    dtype = table.dtype
    if table.shape[2] > 1 and source[1:] != target[1:]:
        frames = table[0].unflatten(1, source[1:]).permute(0, 3, 1, 2)  # (t, D, h, w)
        frames = F.interpolate(frames.float(), size=target[1:], mode=mode, align_corners=False)
        table = frames.flatten(2).transpose(1, 2)[None].to(dtype)
    if source[0] != target[0]:
        series = table.permute(0, 2, 3, 1).flatten(1, 2)  # (1, S*D, t)
        series = F.interpolate(series.float(), size=target[0], mode='linear', align_corners=False)
        table = series.unflatten(1, table.shape[2:]).permute(0, 3, 1, 2).to(dtype)
    return table


def take_time_table(state_dict: dict[str, Any], prefix: str, grid: Grid) -> Tensor | None:
    """Removes the position embeddings in time from a checkpoint and returns them, (1, t, S, D). None for images."""
    separable = state_dict.pop(f'{prefix}{TIME_TABLES["separable"]}', None)
    if separable is not None:
        return separable.unsqueeze(2)
    joint = state_dict.pop(f'{prefix}{TIME_TABLES["joint"]}', None)
    return None if joint is None else joint.unflatten(1, (-1, math.prod(grid[1:])))


def shape_time_table(table: Tensor, pos_embed_type: str, grid: Grid, *, warn: bool) -> Tensor:
    """Converts position embeddings (1, t, S, D) to another type. 'separable' is the mean of joint ones over space."""
    if pos_embed_type == 'joint':
        return table.expand(-1, -1, math.prod(grid[1:]), -1).flatten(1, 2)
    if table.shape[2] > 1 and warn:
        warnings.warn(
            'The joint position embeddings of the checkpoint become separable ones: the mean over all places of each '
            "time. `pos_embed_type='joint'` keeps them.",
            stacklevel=2,
        )
    return table.mean(dim=2)
