# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from vicmae.errors import CheckpointError
from vicmae.models.layers import (
    fit_position_tables,
    resize_pos_embed,
    sincos_pos_embed,
)
from vicmae.models.layers.pos_embed import grid_of_table
from vicmae.utils.vit import sinusoid_pos_embed


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


def test_width_that_four_does_not_divide_is_refused():
    with pytest.raises(ValueError, match='multiple of 4, got 6'):
        sincos_pos_embed((2, 2), 6)


@pytest.mark.parametrize('grid', [(4, 4), (3, 5), (5, 3), (2, 8), (1, 7), (4, 1), (9, 1)])
def test_grid_is_detected_from_sine_cosine_positions(grid):
    assert grid_of_table(sincos_pos_embed(grid, 16)[0], otherwise=(1, 2, 2)) == (1, *grid)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('grid', [(2, 8), (14, 20), (28, 40), (9, 1), (7, 7)])
def test_grid_is_detected_from_resized_positions(grid, dtype):
    table = sincos_pos_embed((14, 14), 64, num_prefix_tokens=1)
    resized = resize_pos_embed(table, (1, 14, 14), (1, *grid), num_prefix_tokens=1).to(dtype)
    assert grid_of_table(resized[0, 1:], otherwise=(1, 14, 14)) == (1, *grid)


def test_grid_of_learned_positions_is_the_models_or_a_square():
    assert grid_of_table(torch.randn(9, 8), otherwise=(1, 2, 2)) == (1, 3, 3)
    assert grid_of_table(torch.randn(12, 8), otherwise=(1, 3, 4)) == (1, 3, 4)
    with pytest.raises(
        CheckpointError, match='`a.pos_embed` .* for 12 patches, .* 2x2 nor a .*with_cls_token'
    ):
        grid_of_table(torch.randn(12, 8), otherwise=(1, 2, 2), name='a.pos_embed')


def fit_image(table, grid):
    state = {'backbone.pos_embed': table}
    fit_position_tables(
        state,
        'backbone.',
        pos_embed_type='separable',
        grid=grid,
        has_time=False,
        num_prefix_tokens=1,
        from_image=True,
        warn=False,
    )
    return state['backbone.pos_embed']


def test_positions_of_a_transposed_grid_are_resized():
    loaded = sincos_pos_embed((4, 6), 16, num_prefix_tokens=1)
    fitted = fit_image(loaded, (1, 6, 4))
    expected = resize_pos_embed(loaded, (1, 4, 6), (1, 6, 4), num_prefix_tokens=1)
    assert torch.equal(fitted, expected)
    assert not torch.equal(fitted, loaded)


def test_resizing_to_the_same_grid_changes_nothing():
    table = sincos_pos_embed((3, 5), 8, num_prefix_tokens=1)
    assert resize_pos_embed(table, (1, 3, 5), (1, 3, 5), num_prefix_tokens=1) is table
    assert fit_image(table, (1, 3, 5)) is table


def test_resizing_keeps_positions_constant_along_an_axis():
    # The row half of a sine-cosine table is the same along a row, on each grid.
    table = sincos_pos_embed((4, 6), 8)
    rows = resize_pos_embed(table, (1, 4, 6), (1, 5, 9), num_prefix_tokens=0)[0, :, 4:]
    rows = rows.unflatten(0, (5, 9))
    torch.testing.assert_close(rows, rows[:, :1].expand(-1, 9, -1))
    assert not torch.allclose(rows[0], rows[1])


def test_sinusoid_equals_its_formula():
    table = sinusoid_pos_embed(50, 12)
    for n in range(50):
        for j in range(12):
            angle = n / 10000 ** (2 * (j // 2) / 12)
            expected = math.sin(angle) if j % 2 == 0 else math.cos(angle)
            assert table[n, j].item() == pytest.approx(expected, abs=1e-6)


def test_sinusoid_of_an_odd_width_is_refused():
    with pytest.raises(ValueError, match='needs an even width, got 7'):
        sinusoid_pos_embed(4, 7)
