# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Position embeddings of clips: a table in space, and one in time that is added to it.

t h w the patch grid, S vectors per time step: 1 (separable) or h*w (joint, sinusoid), D width.
"""

import math
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vicmae.errors import ConfigError
from vicmae.utils.vit import TIME_TABLES, sinusoid_pos_embed

from .patchify import Grid
from .pos_embed import (
    grid_of_table,
    resize_pos_embed,
    sincos_pos_embed,
    warn_of_resizing,
)


def check_pos_embed_type(pos_embed_type: str, learn_pos_embed: bool) -> None:
    """Raises ConfigError for an unknown type, or if fixed positions shall be learned."""
    if pos_embed_type not in TIME_TABLES:
        raise ConfigError(
            f"`pos_embed_type` must be one of {', '.join(TIME_TABLES)}, got '{pos_embed_type}'."
        )
    if pos_embed_type == 'sinusoid' and learn_pos_embed:
        raise ConfigError(
            "`learn_pos_embed=True` trains positions, but those of `pos_embed_type='sinusoid'` are fixed. Use 'joint' "
            "or 'separable'."
        )


def space_table(
    pos_embed_type: str, grid: Grid, embed_dim: int, *, num_prefix_tokens: int = 0
) -> Tensor:
    """Computes the fixed position embeddings of one time step, (1, num_prefix_tokens + h*w, D). Prefixes get zeros."""
    if pos_embed_type != 'sinusoid':
        return sincos_pos_embed(grid[1:], embed_dim, num_prefix_tokens=num_prefix_tokens)
    table = sinusoid_pos_embed(math.prod(grid[1:]), embed_dim)
    return torch.cat([table.new_zeros(num_prefix_tokens, embed_dim), table])[None]


def time_table(pos_embed_type: str, grid: Grid, embed_dim: int) -> Tensor:
    """Computes what positions have besides those in space, (1, t*S, D): zeros, which are learned, or a fixed table."""
    if pos_embed_type == 'separable':
        return torch.zeros(1, grid[0], embed_dim)
    if pos_embed_type == 'joint':
        return torch.zeros(1, math.prod(grid), embed_dim)
    table = sinusoid_pos_embed(math.prod(grid), embed_dim).unflatten(0, (grid[0], -1))
    return (table - table[:1]).flatten(0, 1)[None]


def grid_positions(
    in_space: Tensor,
    along_time: Tensor | None,
    pos_embed_type: str,
    source: Grid,
    target: Grid,
    *,
    num_prefix_tokens: int,
    mode: str = 'bicubic',
) -> Tensor:
    """Adds both tables, built for the grid `source`, for a grid `target`: (1, num_prefix_tokens + t*h*w, D)."""
    in_space = resize_pos_embed(
        in_space, source, target, num_prefix_tokens=num_prefix_tokens, mode=mode
    )
    if along_time is None:
        return in_space
    prefix, in_space = in_space[:, :num_prefix_tokens], in_space[:, num_prefix_tokens:]
    along_time = along_time.unflatten(1, (source[0], -1))  # (1, t, S, D)
    along_time = fit_along_time(along_time, pos_embed_type, source, target, mode=mode)
    return torch.cat([prefix, (in_space.unsqueeze(1) + along_time).flatten(1, 2)], dim=1)


def fit_along_time(
    table: Tensor, pos_embed_type: str, source: Grid, target: Grid, *, mode: str = 'bicubic'
) -> Tensor:
    """Fits a table in time to another grid: (1, t, S, D) -> (1, t', S', D).

    Fixed positions of fewer time steps are the first ones, so that an image has those of time step 0.
    """
    if pos_embed_type == 'sinusoid' and target[0] < source[0]:
        table, source = table[:, : target[0]], (target[0], *source[1:])
    return resize_pos_embed_along_time(table, source, target, mode=mode)


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


def fit_position_tables(
    state_dict: dict[str, Any],
    prefix: str,
    *,
    pos_embed_type: str,
    grid: Grid,
    has_time: bool,
    num_prefix_tokens: int,
    from_image: bool,
    mode: str = 'bicubic',
    warn: bool = True,
) -> None:
    """Fits both tables of a checkpoint to a model, in place. The grid of the checkpoint is detected from them.

    Args:
        state_dict: Weights of the checkpoint.
        prefix: Beginning of the names of both tables.
        pos_embed_type: Type of the model's position embeddings.
        grid: Grid for which the model is built.
        has_time: Whether the model has a table in time.
        num_prefix_tokens: Number of tokens before those of the patches.
        from_image: Whether the checkpoint is of an image model, which has no table in time.
        mode: Interpolation in space.
        warn: Whether to warn of a change of positions.
    """
    name = f'{prefix}pos_embed'
    in_space = state_dict[name]
    source = grid_of_table(in_space[0, num_prefix_tokens:], otherwise=(1, *grid[1:]), name=name)
    loaded_type, along_time = take_time_table(state_dict, prefix, source)  # (1, t, S, D)
    if along_time is None and has_time and from_image:
        along_time = in_space.new_zeros(1, grid[0], 1, in_space.shape[-1])
        if pos_embed_type == 'sinusoid' and grid[0] > 1 and warn:
            warnings.warn(
                'The checkpoint is of an image model, and fixed positions are loaded from it: all time steps get the '
                "same ones, so that the order of frames is lost. `pos_embed_type='separable'` learns it.",
                stacklevel=2,
            )
    source = (grid[0] if along_time is None else along_time.shape[1], *source[1:])
    if source != grid and warn:
        warn_of_resizing(source, grid)
    in_space = resize_pos_embed(
        in_space, source, grid, num_prefix_tokens=num_prefix_tokens, mode=mode
    )
    if along_time is not None and has_time:
        along_time = fit_along_time(along_time, loaded_type, source, grid, mode=mode)
        state_dict[f'{prefix}{TIME_TABLES[pos_embed_type]}'] = shape_time_table(
            along_time, pos_embed_type, grid, warn=warn
        )
    elif along_time is not None:
        one = _image_of(along_time, loaded_type)
        one = resize_pos_embed_along_time(one, (1, *source[1:]), grid, mode=mode).squeeze(1)
        patches = in_space[:, num_prefix_tokens:] + one
        in_space = torch.cat([in_space[:, :num_prefix_tokens], patches], dim=1)
    state_dict[f'{prefix}pos_embed'] = in_space


def _image_of(table: Tensor, pos_embed_type: str) -> Tensor:
    """Returns what an image model gets from a table in time: (1, t, S, D) -> (1, 1, S, D)."""
    if pos_embed_type == 'sinusoid':
        return table[:, :1]
    return table.mean(dim=1, keepdim=True)


def take_time_table(
    state_dict: dict[str, Any], prefix: str, grid: Grid
) -> tuple[str, Tensor | None]:
    """Removes the table in time from a checkpoint and returns its type and values, (1, t, S, D). None for images."""
    for pos_embed_type, name in TIME_TABLES.items():
        table = state_dict.pop(f'{prefix}{name}', None)
        if table is not None:
            places = 1 if pos_embed_type == 'separable' else math.prod(grid[1:])
            return pos_embed_type, table.unflatten(1, (-1, places))
    return '', None


def shape_time_table(table: Tensor, pos_embed_type: str, grid: Grid, *, warn: bool) -> Tensor:
    """Converts a table (1, t, S, D) to another type. 'separable' is the mean over space of the others."""
    if pos_embed_type != 'separable':
        return table.expand(-1, -1, math.prod(grid[1:]), -1).flatten(1, 2)
    if table.shape[2] > 1 and warn:
        warnings.warn(
            'The joint position embeddings of the checkpoint become separable ones: the mean over all places of each '
            "time. `pos_embed_type='joint'` keeps them.",
            stacklevel=2,
        )
    return table.mean(dim=2)
