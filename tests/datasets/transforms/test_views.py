# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""One or two views of a sample."""

import numpy as np

from vicmae.datasets import OneView, PackViews, TwoViews

NOTHING = [dict(type='RandomFlip', prob=0.0)]
CROP = [dict(type='RandomResizedCrop', size=16, scale=(0.2, 0.5))]


def frame(seed):
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def views(frames, transforms, second=None, seed=0):
    sample = dict(frames=frames, rng=np.random.default_rng(seed), path='kept')
    results = TwoViews(transforms, second)(sample)
    assert results['path'] == 'kept'
    return results['views']


def test_views_of_a_video_are_its_two_frames():
    frames = [frame(1), frame(2)]
    first, second = views(frames, NOTHING)
    assert np.array_equal(first, frames[0])
    assert np.array_equal(second, frames[1])


def test_views_of_an_image_differ_by_their_random_choices():
    first, second = views([frame(1)], CROP)
    assert first.shape == second.shape == (16, 16, 3)
    assert not np.array_equal(first, second)


def test_views_follow_from_the_generator_of_the_sample():
    same, again = views([frame(1)], CROP, seed=3), views([frame(1)], CROP, seed=3)
    other = views([frame(1)], CROP, seed=4)
    for i in range(2):
        assert np.array_equal(same[i], again[i])
        assert not np.array_equal(same[i], other[i])


def test_no_view_depends_on_what_happens_to_the_other():
    first, second = views([frame(1)], CROP)
    assert np.array_equal(first, views([frame(1)], CROP, second=NOTHING)[0])
    assert np.array_equal(second, views([frame(1)], NOTHING, second=CROP)[1])


def test_second_view_has_transforms_of_its_own_where_given():
    first, second = views([frame(1)], NOTHING, second=[dict(type='RandomFlip', prob=1.0)])
    assert np.array_equal(first, frame(1))
    assert np.array_equal(second, frame(1)[:, ::-1])


def test_one_view_is_the_first_of_two():
    frames = [frame(1), frame(2)]
    sample = dict(frames=frames, rng=np.random.default_rng(0), path='kept')
    results = OneView(CROP)(sample)
    (view,) = results['views']
    assert results['path'] == 'kept'
    assert np.array_equal(view, views(frames, CROP)[0])


def test_one_view_is_packed_as_one_tensor():
    sample = dict(frames=[frame(1)], rng=np.random.default_rng(0))
    (packed,) = PackViews()(OneView(NOTHING)(sample))['inputs']
    assert np.array_equal(packed.permute(1, 2, 0).numpy(), frame(1))
