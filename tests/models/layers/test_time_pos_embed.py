# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from vicmae.models.layers import (
    resize_pos_embed,
    resize_pos_embed_along_time,
    shape_time_table,
    take_time_table,
)

GRID = (2, 3, 4)


def test_resizing_in_time_to_the_same_grid_changes_nothing():
    table = torch.randn(1, 2, 12, 8)
    assert resize_pos_embed_along_time(table, GRID, GRID) is table


@pytest.mark.parametrize('num_places', [1, 12])
def test_times_are_interpolated_linearly(num_places):
    table = torch.randn(1, 2, num_places, 8)
    first, last = table[0]
    longer = resize_pos_embed_along_time(table, GRID, (4, 3, 4))[0]
    # Times lie in the middle of their share: 1/8, 3/8, ... of a clip whose two were at 1/4 and 3/4.
    between = [first, 0.75 * first + 0.25 * last, 0.25 * first + 0.75 * last, last]
    torch.testing.assert_close(longer, torch.stack(between))


def test_one_time_step_is_repeated():
    table = torch.randn(1, 1, 12, 8)
    longer = resize_pos_embed_along_time(table, (1, 3, 4), (5, 3, 4))
    torch.testing.assert_close(longer, table.expand(-1, 5, -1, -1))


@pytest.mark.parametrize('mode', ['bicubic', 'bilinear'])
def test_each_frame_is_resized_like_an_image(mode):
    table = torch.randn(1, 2, 12, 8)
    resized = resize_pos_embed_along_time(table, GRID, (2, 5, 6), mode=mode)
    for time in range(2):
        image = resize_pos_embed(
            table[:, time], (1, 3, 4), (1, 5, 6), num_prefix_tokens=0, mode=mode
        )
        torch.testing.assert_close(resized[:, time], image)


def test_separable_positions_do_not_depend_on_the_size():
    table = torch.randn(1, 2, 1, 8)
    assert torch.equal(resize_pos_embed_along_time(table, GRID, (2, 5, 6)), table)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_resizing_keeps_the_dtype(dtype):
    table = torch.randn(1, 2, 12, 8, dtype=dtype)
    assert resize_pos_embed_along_time(table, GRID, (4, 5, 6)).dtype == dtype


@pytest.mark.parametrize(
    ('name', 'rows', 'shape'),
    [('temporal_pos_embed', 2, (1, 2, 1, 8)), ('joint_pos_embed', 24, (1, 2, 12, 8))],
)
def test_positions_of_either_type_are_removed_and_restored(name, rows, shape):
    loaded = torch.randn(1, rows, 8)
    state = {f'backbone.{name}': loaded, 'backbone.pos_embed': torch.zeros(1)}
    pos_embed_type, table = take_time_table(state, 'backbone.', (1, 3, 4))
    assert list(state) == ['backbone.pos_embed']
    assert table.shape == shape
    assert pos_embed_type == ('joint' if rows == 24 else 'separable')
    assert torch.equal(shape_time_table(table, pos_embed_type, GRID, warn=True), loaded)


def test_image_checkpoints_have_no_time_positions():
    assert take_time_table({'pos_embed': torch.zeros(1)}, '', (1, 3, 4)) == ('', None)


def test_separable_positions_convert_to_equal_joint_ones():
    table = torch.randn(1, 2, 1, 8)
    joint = shape_time_table(table, 'joint', GRID, warn=True).unflatten(1, (2, 12))
    assert torch.equal(joint, table.expand(-1, -1, 12, -1))


def test_joint_positions_convert_to_their_mean_with_a_warning():
    table = torch.randn(1, 2, 12, 8)
    with pytest.warns(UserWarning, match="become separable .* `pos_embed_type='joint'` keeps"):
        separable = shape_time_table(table, 'separable', GRID, warn=True)
    torch.testing.assert_close(separable, table.mean(dim=2))
