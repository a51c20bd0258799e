# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from vicmae.models.layers import sincos_pos_embed


def embed_slowly(rows, columns, width):
    """The formula, value by value: the first half encodes the column, the second the row."""
    quarter = width // 4
    table = np.zeros((rows * columns, width))
    for row in range(rows):
        for column in range(columns):
            for half, position in enumerate([column, row]):
                for i in range(quarter):
                    angle = position / 10000 ** (i / quarter)
                    table[row * columns + column, 2 * half * quarter + i] = math.sin(angle)
                    table[row * columns + column, (2 * half + 1) * quarter + i] = math.cos(angle)
    return table


@pytest.mark.parametrize('grid', [(1, 1), (4, 4), (3, 5), (5, 2)])
def test_embedding_equals_the_formula_on_square_and_other_grids(grid):
    expected = embed_slowly(*grid, 16)
    np.testing.assert_allclose(sincos_pos_embed(grid, 16)[0].numpy(), expected, atol=1e-7)


def test_square_grids_equal_mmpretrains_embedding_with_rows_and_columns_swapped():
    from mmpretrain.models.utils import build_2d_sincos_position_embedding

    theirs = build_2d_sincos_position_embedding(6, 32)[0].unflatten(0, (6, 6))
    ours = sincos_pos_embed((6, 6), 32)[0].unflatten(0, (6, 6))
    torch.testing.assert_close(ours, theirs.transpose(0, 1))


def test_prefix_tokens_have_no_position():
    embedding = sincos_pos_embed((2, 3), 8, num_prefix_tokens=2)
    assert embedding.shape == (1, 8, 8)
    assert embedding[0, :2].eq(0).all()
    assert torch.equal(embedding[:, 2:], sincos_pos_embed((2, 3), 8))


def test_every_place_of_a_large_grid_has_an_embedding_of_its_own():
    table = sincos_pos_embed((14, 20), 64)[0]
    distances = torch.cdist(table, table) + 10 * torch.eye(len(table))
    assert distances.min() > 0.1


def test_width_that_four_does_not_divide_is_refused():
    with pytest.raises(ValueError, match='width that four divides, got 6'):
        sincos_pos_embed((2, 2), 6)
