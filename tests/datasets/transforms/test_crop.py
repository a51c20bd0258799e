# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Crops and flips."""

import numpy as np
import pytest
from PIL import Image

from vicmae.datasets import CenterCrop, RandomFlip, RandomResizedCrop, SpatialCrops
from vicmae.datasets.transforms.crop import crop_and_resize


def picture(height=48, width=64):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def run(transform, img, seed=0):
    return transform(dict(img=img, rng=np.random.default_rng(seed)))['img']


def test_crop_without_resizing_is_a_slice():
    img = picture()
    assert np.array_equal(crop_and_resize(img, (5, 7, 20, 30), (20, 30)), img[5:25, 7:37])


def test_resizing_follows_the_antialiased_bicubic_of_pillow():
    img = picture()
    ours = crop_and_resize(img, (4, 8, 40, 50), (16, 24)).astype(int)
    cut = Image.fromarray(img[4:44, 8:58])
    theirs = np.array(cut.resize((24, 16), Image.Resampling.BICUBIC))
    assert np.abs(ours - theirs).max() <= 1


def test_resized_pixels_have_the_memory_layout_of_images():
    # In torch's own order, what follows would take longer than the resizing.
    assert crop_and_resize(picture(), (4, 8, 40, 50), (16, 24)).flags.c_contiguous


@pytest.mark.parametrize(('height', 'width'), [(48, 64), (300, 200), (20, 20)])
def test_box_is_inside_with_scale_and_ratio_in_range(height, width):
    crop = RandomResizedCrop(16, scale=(0.2, 0.6), ratio=(0.75, 1.25))
    rng = np.random.default_rng(0)
    boxes = np.array([crop.draw_box(height, width, rng) for _ in range(2000)])
    top, left, h, w = boxes.T
    assert (boxes[:, :2].min() >= 0) and (top + h <= height).all() and (left + w <= width).all()
    slack = 1 / np.minimum(h, w)  # sides are whole pixels
    assert (h * w / (height * width) <= 0.6 * (1 + slack) ** 2).all()
    assert (h * w / (height * width) >= 0.2 * (1 - slack) ** 2).all()
    assert (w / h <= 1.25 * (1 + slack)).all()
    assert (w / h >= 0.75 * (1 - slack)).all()
    assert top.min() == 0 and (top + h).max() == height
    area = h * w / (height * width)
    assert area.mean() == pytest.approx(0.4, abs=0.02)  # uniform over the range


@pytest.mark.parametrize(('height', 'width'), [(10, 400), (400, 10), (1, 1)])
def test_box_in_an_extreme_image_is_the_largest_centred_one(height, width):
    crop = RandomResizedCrop(8, scale=(1.0, 1.0))
    top, left, h, w = crop.draw_box(height, width, np.random.default_rng(0))
    assert 3 / 4 <= w / h <= 4 / 3
    assert max(h - height, w - width) <= 0
    assert abs(2 * top + h - height) <= 1
    assert abs(2 * left + w - width) <= 1
    assert min(height, width) in (h, w)


def test_whole_image_at_its_size_is_unchanged():
    img = picture(32, 32)
    crop = RandomResizedCrop(32, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert np.array_equal(run(crop, img), img)


@pytest.mark.parametrize(
    ('height', 'width'), [(100, 101), (101, 100), (100, 102), (48, 64), (64, 48), (1, 2), (7, 7)]
)
def test_crop_without_a_range_is_the_largest_centred_square_every_time(height, width):
    img, side = picture(height, width), min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = crop_and_resize(img, (top, left, side, side), (16, 16))
    crop = RandomResizedCrop(16, scale=(1, 1), ratio=(1, 1))
    assert all(np.array_equal(run(crop, img, seed), square) for seed in range(20))


def test_view_has_the_requested_size():
    assert run(RandomResizedCrop((16, 24)), picture()).shape == (16, 24, 3)
    assert run(RandomResizedCrop(16), picture(3, 200)).shape == (16, 16, 3)


def test_crop_depends_only_on_the_generator():
    crop = RandomResizedCrop(16)
    assert np.array_equal(run(crop, picture(), 1), run(crop, picture(), 1))
    assert not np.array_equal(run(crop, picture(), 1), run(crop, picture(), 2))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(scale=(0.5, 0.2)),
            r'`scale` must be two positive numbers in ascending order, got \(0.5',
        ),
        (dict(scale=(0.2, 1.5)), '`scale` is a share of the area and must be at most 1, got'),
        (dict(ratio=(0, 1)), '`ratio` must be two positive numbers'),
    ],
)
def test_invalid_ranges_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RandomResizedCrop(16, **options)


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: RandomFlip(50), r'`prob` is a probability in \[0, 1\], got 50'),
        (lambda: CenterCrop(16, crop_ratio=1.2), r'`crop_ratio` must be in \(0, 1\], got 1.2'),
        (lambda: SpatialCrops(8, num_crops=0), '`num_crops` must be positive, got 0'),
    ],
)
def test_other_invalid_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_flip_mirrors_left_to_right_and_is_its_inverse():
    img, flip = picture(), RandomFlip(prob=1.0)
    once = run(flip, img)
    assert np.array_equal(once[:, 0], img[:, -1])
    assert np.array_equal(run(flip, once), img)


def test_flip_has_its_probability():
    img = picture(2, 2)
    flipped = [not np.array_equal(run(RandomFlip(0.3), img, s), img) for s in range(1000)]
    assert np.mean(flipped) == pytest.approx(0.3, abs=0.06)
    assert run(RandomFlip(0.0), img) is img


def test_centre_crop_keeps_the_middle_of_each_frame():
    img = picture(40, 64)
    frames = CenterCrop(40, crop_ratio=1.0)(dict(frames=[img, img[::-1].copy()]))['frames']
    assert np.array_equal(frames[0], img[:, 12:52])
    assert np.array_equal(frames[1], img[::-1, 12:52])


def test_centre_crop_keeps_seven_eighths_of_the_short_side_as_usual():
    img = picture(64, 96)
    (frame,) = CenterCrop(56)(dict(frames=[img]))['frames']
    assert np.array_equal(frame, img[4:60, 20:76])


def test_crops_are_spaced_along_the_longer_side():
    img = picture(40, 64)
    frames = SpatialCrops(40, num_crops=3)(dict(frames=[img]))['frames']
    assert all(
        np.array_equal(f, img[:, x : x + 40]) for f, x in zip(frames, [0, 12, 24], strict=True)
    )
    turned = np.ascontiguousarray(img.transpose(1, 0, 2))
    frames = SpatialCrops(40, num_crops=3)(dict(frames=[turned]))['frames']
    assert all(
        np.array_equal(f, turned[x : x + 40]) for f, x in zip(frames, [0, 12, 24], strict=True)
    )


def test_single_crop_is_in_the_middle():
    img = picture(40, 64)
    (frame,) = SpatialCrops(40, num_crops=1)(dict(frames=[img]))['frames']
    assert np.array_equal(frame, img[:, 12:52])


def test_each_clip_comes_once_for_each_crop():
    clips = [np.full((8, 12, 3), number, np.uint8) for number in range(4)]  # two of two frames
    results = SpatialCrops(8, num_crops=3)(dict(frames=clips, num_clips=2))
    assert [int(f[0, 0, 0]) for f in results['frames']] == [0, 1] * 3 + [2, 3] * 3
    assert results['num_crops'] == 3
