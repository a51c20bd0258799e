# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Pictures of what models compute, from files to panels."""

import shutil

import numpy as np
import pytest
import torch

from vicmae.apis.show import WHAT, show_inside
from vicmae.errors import ConfigError, DataError
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_transfer_config, toy_vicmae_config, toy_video_mae_config


def build(config):
    return randomize(MODELS.build(config)).eval()


@pytest.fixture(scope='module')
def images():
    return build(toy_vicmae_config())


@pytest.fixture(scope='module')
def clips():
    return build(toy_video_mae_config('OmniMAE'))


@pytest.fixture(scope='module')
def files(demo_data):
    """Two images and two videos."""
    pictures = sorted((demo_data / 'images/val').rglob('*.jpg'))
    videos = sorted((demo_data / 'videos/val').rglob('*.mp4'))
    return [str(path) for path in (pictures[0], videos[0], pictures[-1], videos[-1])]


def panels_of(inside, what):
    return [panel for panel in inside.panels if panel.what == what]


def test_each_input_has_a_panel_of_each_kind(images, files):
    inside = show_inside({'a': images}, files)
    assert list(dict.fromkeys(panel.what for panel in inside.panels)) == list(WHAT)
    for what in WHAT:
        assert [panel.name for panel in panels_of(inside, what)] == list(inside.names)
    assert inside.notes == []


def test_frames_of_a_video_are_as_many_as_asked_for(images, clips, files):
    def lengths(model, **options):
        inside = show_inside({'m': model}, files, what=['pca', 'attention'], **options)
        return {len(tile.frames) for panel in inside.panels for tile in panel.rows[0]}

    assert lengths(images) == {1, 8}
    assert lengths(images, num_frames=3) == {1, 3}
    assert lengths(clips) == {1, 4}
    assert lengths(clips, num_frames=6) == {1, 6}


def test_colours_do_not_depend_on_the_order_of_the_inputs(images, clips, files):
    for model in (images, clips):
        one = show_inside({'m': model}, files, what=['pca'])
        two = show_inside({'m': model}, files[::-1], what=['pca'])
        drawn = {panel.name: panel.rows[0][1].frames.astype(int) for panel in two.panels}
        for panel in one.panels:
            assert np.abs(panel.rows[0][1].frames - drawn[panel.name]).max() <= 1


def test_chosen_patch_is_found_at_its_place_in_a_copy_of_the_picture(images, files, tmp_path):
    copy = tmp_path / 'copy.jpg'
    shutil.copy(files[0], copy)
    inside = show_inside({'m': images}, [files[0], str(copy)], what=['nearest'], point=(0.9, 0.3))
    for panel in inside.panels:
        query, nearest = panel.rows[0]
        assert nearest.title.startswith('1.00 ')
        patch = np.s_[0, 44:76, 124:156]  # inside the box around row 1, column 3 of 4 x 4 patches
        np.testing.assert_array_equal(query.frames[patch], nearest.frames[patch])


def test_masks_are_the_same_in_all_frames_and_inputs_and_change_with_the_seed(images, files):
    def hidden(**options):
        inside = show_inside({'m': images}, files, what=['reconstruction'], **options)
        frames = np.concatenate([panel.rows[0][1].frames for panel in inside.panels])
        gray = (np.abs(frames.astype(int) - [124, 116, 104]) <= 1).all(axis=-1)
        return gray.reshape(-1, 4, 4, 4, 4).all(axis=(2, 4))

    masks = hidden()
    assert len(masks) == 2 + 2 * 8
    assert (masks == masks[0]).all()
    seeds = torch.zeros(1, dtype=torch.int64)
    visible = images.backbone.draw_mask(torch.zeros(1, 3, 16, 16), seeds).visible
    np.testing.assert_array_equal(masks[0].ravel(), ~visible[0].numpy())
    assert (hidden(seed=1)[0] != masks[0]).any()


def test_models_of_images_and_clips_are_shown_side_by_side(images, clips, files):
    inside = show_inside({'a': images, 'b': clips}, files)
    assert [tile.title for tile in panels_of(inside, 'pca')[0].rows[0]] == ['input', 'a', 'b']
    nearest = panels_of(inside, 'nearest')[0].rows
    assert [row[0].title for row in nearest] == ['a: chosen patch', 'b: chosen patch']
    rows = panels_of(inside, 'reconstruction')[1].rows
    assert [row[2].title for row in rows] == ['a: reconstruction', 'b: reconstruction']
    assert [len(row[2].frames) for row in rows] == [8, 4]
    assert set(inside.explained) == {'a', 'b'}


def test_what_a_model_cannot_show_is_left_out_with_a_reason_or_refused(images, files):
    models = {'a': images, 'b': build(toy_transfer_config())}
    inside = show_inside(models, files[:1])
    assert {panel.what for panel in inside.panels} == {'pca', 'attention', 'reconstruction'}
    assert [row[0].title for row in panels_of(inside, 'reconstruction')[0].rows] == ['input']
    nearest, decoder = inside.notes
    assert (
        nearest
        == 'The nearest patches are those of other inputs, and there is one input. Give more.'
    )
    assert decoder.startswith('No reconstructions of b: A TransferClassifier reconstructs nothing.')
    with pytest.raises(ConfigError, match='^b: A TransferClassifier reconstructs nothing'):
        show_inside(models, files[:1], what=['reconstruction'])
    with pytest.raises(ConfigError, match='there is one input'):
        show_inside(models, files[:1], what=['pca', 'nearest'])


def test_many_inputs_are_thinned_out_evenly(images, demo_data):
    folder = demo_data / 'images/val'
    number = len(list(folder.rglob('*.jpg')))
    inside = show_inside({'m': images}, [str(folder)], what=['pca'], number=3)
    assert len(inside.names) == 3
    assert len({name.partition('/')[0] for name in inside.names}) == 3  # classes
    assert inside.notes == [f'Of {number} inputs, 3 are shown, evenly spread.']


def test_share_of_the_work_is_reported(images, clips, files):
    shares = []
    models = {'a': images, 'b': clips}
    show_inside(models, files, what=['pca', 'reconstruction'], report=shares.append)
    assert len(shares) == 16
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_file_that_is_no_picture_is_named(images, files, tmp_path):
    (tmp_path / 'notes.txt').write_text('no picture')
    with pytest.raises(DataError, match=r"Can't read the image '.*notes.txt'"):
        show_inside({'m': images}, [*files, str(tmp_path / 'notes.txt')])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(what=['pac']), "`what` must be some of pca, .*, got 'pac'"),
        (dict(number=0), '`number` must be at least 1, got 0'),
        (dict(num_frames=5), 'must be a multiple of the 2 frames of a tubelet, got 5. Use 6'),
    ],
)
def test_wrong_arguments_are_refused(clips, files, options, message):
    with pytest.raises(ValueError, match=message):
        show_inside({'m': clips}, files, **options)
