# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Fixed positions of clips, which vicmae stores as two tables: of the first time step, and what others add to it.

t h w the patch grid, N = t*h*w patches, D width, `projection` the patch embedding (D, C, tubelet, p, p).
"""

import math

from torch import Tensor

from vicmae.utils.vit import sinusoid_pos_embed

from .table import TOKENS, Module

# Clips of all published models with fixed positions. Their checkpoints don't have these numbers.
NUM_FRAMES = 16
IMAGE_SIZE = 224


def sinusoid(projection: Tensor, width: int) -> Tensor:
    """Computes the positions of VideoMAE, (1, N, D)."""
    num_positions = _num_times(projection) * math.prod(
        IMAGE_SIZE // side for side in projection.shape[-2:]
    )
    return sinusoid_pos_embed(num_positions, width)[None]


def first_step(table: Tensor, projection: Tensor) -> Tensor:
    """Returns the positions of the first time step: (1, N, D) -> (1, h*w, D)."""
    return table.unflatten(1, (_num_times(projection), -1))[:, 0]


def later_steps(table: Tensor, projection: Tensor) -> Tensor:
    """Subtracts the first time step from all: (1, N, D) -> (1, N, D)."""
    steps = table.unflatten(1, (_num_times(projection), -1))
    return (steps - steps[:, :1]).flatten(1, 2)


def stored_positions(name: str, ours: str, projection: str) -> tuple[Module, Module]:
    """Returns both tables of positions that a checkpoint stores under `name`."""
    return (
        Module(name, f'{ours}pos_embed', TOKENS, first_step, (projection,)),
        Module(
            theirs=None,
            ours=f'{ours}sinusoid_pos_embed',
            kind=TOKENS,
            make=later_steps,
            inputs=(name, projection),
            note=f'from `{name}`',
        ),
    )


def _num_times(projection: Tensor) -> int:
    return NUM_FRAMES // projection.shape[2]
