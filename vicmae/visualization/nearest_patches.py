# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The patches of other inputs that are most similar to a patch. t h w the patch grid, D width."""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

Place = tuple[int, int, int]


class NearestPatch(NamedTuple):
    """The patch of an input that is most similar to a query.

    Attributes:
        number: Which of the inputs.
        place: Time step, row and column of the patch.
        similarity: Cosine of the angle between the tokens.
        similarities: That of each patch of the input, (t, h, w).
    """

    number: int
    place: Place
    similarity: float
    similarities: Tensor


def find_nearest_patches(query: Tensor, tokens: Sequence[Tensor]) -> list[NearestPatch]:
    """Finds the nearest patch in each input, the most similar first: (D,) and inputs (t, h, w, D)."""
    direction = F.normalize(query, dim=0)
    found = []
    for number, each in enumerate(tokens):
        similarities = F.normalize(each, dim=-1) @ direction
        best = int(similarities.argmax())
        place = unravel(best, similarities)
        found.append(NearestPatch(number, place, float(similarities[place]), similarities))
    return sorted(found, key=lambda patch: -patch.similarity)


def unravel(position: int, grid: Tensor) -> Place:
    """Returns the time step, row and column of a position in a flattened grid."""
    _, height, width = grid.shape
    return position // (height * width), position // width % height, position % width


def patch_at(grid: Sequence[int], point: tuple[float, float]) -> Place:
    """Returns the patch at a point (x, y) of the middle time step, in shares of width and height, [0, 1]."""
    num_times, height, width = grid
    x, y = point
    return num_times // 2, min(int(y * height), height - 1), min(int(x * width), width - 1)
