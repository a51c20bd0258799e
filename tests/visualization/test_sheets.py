# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import io

import numpy as np
import pytest
from PIL import Image

from vicmae.io.video import open_video
from vicmae.visualization.sheets import (
    Tile,
    draw_sheet,
    encode_sheet,
    enlarge,
    frame_patch,
    heat_map,
    shown_frame,
    spread_over_pixels,
)


def picture(height=32, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_all_pixels_of_a_patch_get_its_value():
    values = np.arange(2 * 2 * 3).reshape(2, 2, 3)
    pixels = spread_over_pixels(values, np.zeros((4, 8, 12, 3), np.uint8))
    assert pixels.shape == (4, 8, 12)
    for place in np.ndindex(4, 8, 12):
        frame, y, x = place
        assert pixels[place] == values[frame // 2, y // 4, x // 4]


def test_heat_map_is_brighter_for_higher_values_and_the_same_for_equal_ones():
    frames = np.full((1, 8, 16, 3), 100, np.uint8)
    values = np.array([[[0.0, 0.2, 0.5, 1.0], [1.0, 0.5, 0.2, 0.0]]])
    drawn = heat_map(values, frames, low=0.0, high=1.0)
    patches = drawn[0].reshape(2, 4, 4, 4, 3).swapaxes(1, 2)  # rows, columns, pixels
    assert (patches == patches[:, :, :1, :1]).all()
    means = patches.mean(axis=(2, 3, 4))
    assert (np.diff(means[0]) > 20).all()
    np.testing.assert_array_equal(patches[0], patches[1, ::-1])


def test_heat_map_of_equal_values_can_be_drawn():
    drawn = heat_map(np.ones((1, 2, 2)), np.zeros((1, 4, 4, 3), np.uint8), low=1.0, high=1.0)
    assert (drawn == drawn[0, 0, 0]).all()


@pytest.mark.parametrize('place', [(0, 0, 0), (0, 1, 2), (0, 3, 3)])
def test_box_surrounds_its_patch_and_leaves_the_rest(place):
    shown = np.full((160, 160, 3), 90, np.uint8)
    boxed = frame_patch(shown, place, (1, 4, 4))
    changed = (boxed != shown).any(axis=-1)
    _, row, column = place
    inside = np.zeros((160, 160), bool)
    inside[max(row * 40 - 4, 0) : row * 40 + 44, max(column * 40 - 4, 0) : column * 40 + 44] = True
    assert not changed[~inside].any()
    core = changed[row * 40 + 4 : row * 40 + 36, column * 40 + 4 : column * 40 + 36]
    assert not core.any()
    assert changed.any(axis=0).sum() == changed.any(axis=1).sum() == inside.any(axis=0).sum()


@pytest.mark.parametrize(('side', 'enlarged'), [(32, 160), (48, 192), (160, 160), (224, 224)])
def test_small_pictures_are_enlarged_by_whole_pixels(side, enlarged):
    small = picture(side, side)
    large = enlarge(small)
    assert large.shape == (enlarged, enlarged, 3)
    zoom = enlarged // side
    for dy, dx in np.ndindex(zoom, zoom):
        np.testing.assert_array_equal(large[dy::zoom, dx::zoom], small)


def test_sheet_has_pictures_side_by_side_below_titles():
    one, two, three = (picture(seed=seed) for seed in range(3))
    sheet = draw_sheet([[('one', one), ('two', two)], [('three', three)]])
    assert sheet.shape == (2 * (24 + 160), 160 + 8 + 160, 3)
    np.testing.assert_array_equal(sheet[24:184, :160], enlarge(one))
    np.testing.assert_array_equal(sheet[24:184, 168:], enlarge(two))
    np.testing.assert_array_equal(sheet[208:, :160], enlarge(three))
    assert (sheet[184:, 160:] == 255).all()
    for y, x in ((0, 0), (0, 168), (184, 0)):
        title = sheet[y : y + 24, x : x + 160]
        assert title.min() < 100  # ink
        assert (title[:, [0, -1]] == 255).all()


def test_pictures_of_several_sizes_get_one_height():
    sheet = draw_sheet([[('small', picture(80, 80)), ('wide', picture(200, 400))]])
    assert sheet.shape == (224, 200 + 8 + 400, 3)


def test_title_that_is_too_long_is_cut_at_its_end():
    sheet = draw_sheet([[('x' * 400, picture())]])
    assert (sheet[:24, [0, 159]] == 255).all()
    begin = draw_sheet([[('0.93 ' + 'x' * 400, picture())]])
    other = draw_sheet([[('0.71 ' + 'x' * 400, picture())]])
    assert (begin[:24] != other[:24]).any()


@pytest.mark.parametrize(
    ('count', 'expected'), [(4, [0, 1, 2, 3]), (2, [0, 0, 1, 1]), (1, [0] * 4)]
)
def test_frames_of_a_shorter_clip_repeat(count, expected):
    frames = np.arange(count)
    assert [shown_frame(frames, number, 4) for number in range(4)] == expected


def test_images_become_a_png_without_loss():
    rows = [[Tile('input', picture()[None]), Tile('PCA', picture(seed=1)[None])]]
    extension, content = encode_sheet(rows)
    assert extension == '.png'
    sheet = draw_sheet([[(tile.title, tile.frames[0]) for tile in rows[0]]])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), sheet)


def test_clips_become_an_mp4_with_each_frame():
    grays = np.array([20, 90, 160, 230], np.uint8)
    clip = np.broadcast_to(grays[:, None, None, None], (4, 33, 33, 3))
    extension, content = encode_sheet([[Tile('input', clip), Tile('step', clip[::2])]])
    assert extension == '.mp4'
    with open_video(content) as video:
        assert (video.num_frames, video.fps) == (4, 4)
        assert (video.height % 2, video.width % 2) == (0, 0)
        frames = np.stack(video.frames(range(4))).astype(int)
    middle = frames[:, 24 + 80]
    np.testing.assert_allclose(middle[:, 80, 0], grays, atol=4)
    np.testing.assert_allclose(middle[:, 165 + 8 + 80, 0], grays[[0, 0, 2, 2]], atol=4)
