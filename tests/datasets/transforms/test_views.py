# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""One or two views of a sample."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import default_collate

from vicmae.datasets import (
    ClipView,
    ClipViews,
    ColorJitter,
    GaussianBlur,
    LoadImage,
    OneView,
    PackViews,
    RandomFlip,
    RandomGrayscale,
    RandomResizedCrop,
    TwoViews,
)
from vicmae.datasets.transforms.view import View, scale_box
from vicmae.io.image import EncodedImage
from vicmae.models.data_preprocessors import ViewPreprocessor
from vicmae.models.data_preprocessors.batch_augment import augment_batch
from vicmae.structures import FIELDS, UNCHANGED

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


def test_views_depend_on_the_generator_of_the_sample():
    same, again = views([frame(1)], CROP, seed=3), views([frame(1)], CROP, seed=3)
    other = views([frame(1)], CROP, seed=4)
    for i in range(2):
        assert np.array_equal(same[i], again[i])
        assert not np.array_equal(same[i], other[i])


def test_views_do_not_depend_on_each_other():
    first, second = views([frame(1)], CROP)
    assert np.array_equal(first, views([frame(1)], CROP, second=NOTHING)[0])
    assert np.array_equal(second, views([frame(1)], NOTHING, second=CROP)[1])


def test_second_view_can_have_other_transforms():
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


STRONG = [
    *CROP,
    dict(type='RandomFlip'),
    dict(type='ColorJitter'),
    dict(type='RandomGrayscale'),
    dict(type='GaussianBlur'),
    dict(type='RandomSolarize'),
]


def on_device(frames, transforms, second=None, seed=0):
    sample = dict(frames=frames, rng=np.random.default_rng(seed))
    return PackViews()(TwoViews(transforms, second, on_device=True)(sample))


def smooth_frame(seed):
    """Makes a smooth image, like a photograph, which a hue in 256 steps changes less than noise."""
    return cv2.blur(frame(seed), (5, 5))


def test_device_gives_the_same_views_as_the_worker():
    differences = []
    for seed in range(40):
        frames = [smooth_frame(seed)]
        made = np.stack(views(frames, STRONG, second=STRONG[:4], seed=seed)).astype(float)
        packed = on_device(frames, STRONG, second=STRONG[:4], seed=seed)
        finished = [
            augment_batch(pixels[None], numbers[None])[0].permute(1, 2, 0)
            for pixels, numbers in zip(packed['inputs'], packed['augment'], strict=True)
        ]
        differences.append(np.abs(torch.stack(finished).numpy() - made))
    # Rounding, of which hues have the coarsest: see test_batch_augment.py.
    assert np.max(differences) <= 12
    assert np.mean(differences) <= 0.6


def test_worker_only_crops_with_on_device():
    packed = on_device([frame(1)], STRONG)
    cropped = views([frame(1)], CROP)
    for pixels, view in zip(packed['inputs'], cropped, strict=True):
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), view)


def test_augmented_images_and_plain_frames_share_a_batch():
    image = on_device([frame(1)], STRONG)
    video = on_device([frame(2), frame(3)], STRONG[:2])
    worker = PackViews()(TwoViews(CROP)(dict(frames=[frame(4)], rng=np.random.default_rng(0))))
    batch = default_collate([worker, image, video])
    assert [tuple(one.shape) for one in batch['inputs']] == [(3, 3, 16, 16)] * 2
    assert [tuple(one.shape) for one in batch['augment']] == [(3, len(FIELDS))] * 2
    for view in range(2):
        assert torch.equal(batch['augment'][view][1], image['augment'][view])
        assert batch['augment'][view][0].tolist() == list(UNCHANGED.values())


def test_one_view_on_device_is_the_first_of_two():
    sample = dict(frames=[frame(1)], rng=np.random.default_rng(0))
    packed = PackViews()(OneView(STRONG, on_device=True)(sample))
    two = on_device([frame(1)], STRONG)
    assert torch.equal(packed['inputs'][0], two['inputs'][0])
    assert torch.equal(packed['augment'][0], two['augment'][0])


class Median(BaseTransform):
    """A custom transform, which the device doesn't support."""

    def transform(self, results):
        return {**results, 'img': cv2.medianBlur(results['img'], 3)}


def test_custom_transform_works_before_the_device():
    crop = RandomResizedCrop(16)
    packed = on_device([frame(1)], [crop, Median(), RandomGrayscale(1.0)])
    assert np.array_equal(
        packed['inputs'][0].permute(1, 2, 0).numpy(), views([frame(1)], [crop, Median()])[0]
    )


@pytest.mark.parametrize(
    ('transforms', 'message'),
    [
        (
            [RandomGrayscale(), Median()],
            'no transform can follow .* got Median. Put it before RandomGrayscale, or set',
        ),
        ([RandomGrayscale(), RandomResizedCrop(16)], 'got RandomResizedCrop'),
        (
            [RandomGrayscale(), ColorJitter()],
            'flip, jitter, .* ColorJitter is repeated or too late',
        ),
        ([ColorJitter(), RandomFlip()], 'RandomFlip is repeated or too late'),
        ([GaussianBlur(), GaussianBlur()], 'GaussianBlur is repeated or too late'),
    ],
)
def test_invalid_order_on_the_device_is_refused(transforms, message):
    TwoViews(transforms)
    for views_of in (OneView, TwoViews):
        with pytest.raises(ValueError, match=message):
            views_of(transforms, on_device=True)
    with pytest.raises(ValueError, match=message):
        TwoViews([], second=transforms, on_device=True)


PHOTO = Path(__file__).resolve().parents[3] / '../shared/data/odd_files/image/landscape_exif_{}.jpg'
needs_photo = pytest.mark.skipif(
    not Path(str(PHOTO).format(1)).exists(), reason='needs the photographs of ../shared/data'
)


class Counted(EncodedImage):
    """An image that records how it was decoded."""

    def __init__(self, *args):
        super().__init__(*args)
        self.reductions = []

    def decode(self, reduction=1):
        self.reductions.append(reduction)
        return super().decode(reduction)


def photo(turned=1):
    return Counted(str(PHOTO).format(turned))  # 1800 x 1200, or stored as 1200 x 1800


def crop_of(size, *scale):
    return [dict(type='RandomResizedCrop', size=size, scale=scale)]


@needs_photo
@pytest.mark.parametrize('turned', [1, 5, 6, 8])
def test_large_photograph_is_decoded_small_once_for_both_views(turned):
    encoded = photo(turned)
    made = views([encoded], crop_of(128, 0.5, 1.0))
    assert len(encoded.reductions) == 1
    assert encoded.reductions[0] in (4, 8)
    # The boxes are the same: a view of a place some pixels beside would differ by more.
    whole = views([photo(turned).decode()], crop_of(128, 0.5, 1.0))
    for view, expected in zip(made, whole, strict=True):
        difference = np.abs(view.astype(float) - expected)
        moved = np.abs(np.roll(expected, 2, axis=1).astype(float) - expected)
        assert difference.mean() < 4
        assert difference.mean() < 0.5 * moved.mean()


@needs_photo
def test_image_that_is_loaded_lazily_is_decoded_for_its_views():
    def run(seed, **options):
        load, two_views = LoadImage(**options), TwoViews(crop_of(128, 0.5, 1.0))
        sample = dict(path=str(PHOTO).format(6), rng=np.random.default_rng(seed))
        return two_views(load(sample))['views']

    assert all(
        map(np.array_equal, run(3, lazy=True), views([photo(6)], crop_of(128, 0.5, 1.0), seed=3))
    )
    assert not np.array_equal(run(3, lazy=True)[0], run(3)[0])


@needs_photo
def test_view_that_needs_all_pixels_gets_them():
    large, small = crop_of(700, 1.0, 1.0), crop_of(64, 1.0, 1.0)  # of at most 1200 x 1600 pixels
    for first, second in [(large, small), (small, large)]:
        encoded = photo()
        made = views([encoded], first, second=second)
        assert encoded.reductions == [1]
        assert all(map(np.array_equal, made, views([photo().decode()], first, second=second)))
    both_small = photo()
    views([both_small], small, second=small)
    assert both_small.reductions == [8]


@needs_photo
def test_each_of_two_frames_is_decoded_at_the_size_of_its_view():
    frames = [photo(), photo()]
    views(frames, crop_of(700, 1.0, 1.0), second=crop_of(64, 1.0, 1.0))
    assert [frame.reductions for frame in frames] == [[1], [8]]


@needs_photo
def test_view_without_a_crop_has_all_pixels():
    assert views([photo()], NOTHING)[0].shape == (1200, 1800, 3)


@needs_photo
def test_visits_to_a_photograph_decode_it_once_for_each_reduction_and_stay_the_same():
    def sample(seed, encoded):
        return dict(frames=[encoded], rng=np.random.default_rng(seed))

    two_views, encoded = TwoViews(crop_of(128, 0.05, 1.0)), photo()
    together = two_views.transform_together([sample(seed, encoded) for seed in range(12)])
    assert len(set(encoded.reductions)) == len(encoded.reductions) > 1
    for seed in range(0, 12, 4):
        alone = two_views(sample(seed, photo()))['views']
        assert all(map(np.array_equal, together[seed]['views'], alone))


def test_scaled_box_is_in_the_reduced_image_with_enough_pixels():
    rng = np.random.default_rng(0)
    view = View(crop_of((20, 30), 0.05, 1.0))
    for _ in range(3000):
        height, width = (int(side) for side in rng.integers(30, 700, 2))
        box = view.draw_box(np.empty((height, width, 3), np.uint8), rng)
        reduction = view.reduction(box)
        top, left, h, w = scale_box(box, reduction)
        assert min(top, left) >= 0
        assert top + h <= -(-height // reduction)
        assert left + w <= -(-width // reduction)
        if reduction > 1:
            assert h >= 20
            assert w >= 30
        # No further from the place than half a pixel of the reduced image.
        assert np.abs(np.array([top, left, top + h, left + w]) * reduction - edges(box)).max() <= (
            reduction / 2
        )


def edges(box):
    top, left, height, width = box
    return np.array([top, left, top + height, left + width])


AUGMENT = [
    *CROP,
    dict(type='RandomFlip'),
    dict(
        type='MMPretrainAugment',
        transforms=[
            dict(
                type='mmpretrain.RandAugment',
                policies='timm_increasing',
                num_policies=2,
                magnitude_level=7,
                magnitude_std=0.5,
            ),
            dict(type='mmpretrain.RandomErasing', erase_prob=0.5, mode='rand'),
        ],
    ),
]


def clip_view(frames, seed):
    return ClipView(AUGMENT)(dict(frames=frames, rng=np.random.default_rng(seed)))['frames']


@pytest.mark.parametrize('seed', range(8))
def test_frames_of_a_clip_get_the_same_view(seed):
    first, second = frame(0), frame(1)
    made = clip_view([first, second, first], seed)
    assert np.array_equal(made[0], made[2])
    # As if each were the whole clip: no frame moves what is drawn for the next.
    assert np.array_equal(made[1], clip_view([second], seed)[0])


def test_clips_get_different_views():
    made = [clip_view([frame(0)], seed)[0] for seed in range(8)]
    assert len({view.tobytes() for view in made}) == 8


def clip_views(frames, transforms, num_clips=1, seed=0, **options):
    sample = dict(frames=frames, num_clips=num_clips, rng=np.random.default_rng(seed))
    return ClipViews(transforms, **options)(sample)


@pytest.mark.parametrize('transforms', [STRONG, AUGMENT])
def test_still_clip_has_the_view_of_its_frame(transforms):
    (clip,) = clip_views([frame(1)] * 3, transforms)['views']
    sample = dict(frames=[frame(1)], rng=np.random.default_rng(0))
    (view,) = OneView(transforms)(sample)['views']
    assert len(clip) == 3
    assert all(np.array_equal(made, view) for made in clip)


def test_frames_of_a_clip_do_not_change_the_views_of_each_other():
    clip = [frame(seed) for seed in range(3)]
    (made,) = clip_views(clip, STRONG)['views']
    for alone, view in zip(clip, made, strict=True):
        assert np.array_equal(clip_views([alone], STRONG)['views'][0][0], view)


def test_each_clip_of_a_sample_is_one_view_with_its_own_choices():
    results = clip_views([frame(1)] * 6, STRONG, num_clips=2)
    first, second = results['views']
    assert len(first) == len(second) == 3
    assert not np.array_equal(first[0], second[0])
    assert results['boxes'][0] != results['boxes'][1]
    # The first clip has the view that it has alone.
    assert np.array_equal(first[0], clip_views([frame(1)] * 3, STRONG)['views'][0][0])


def test_device_gives_the_same_clips_as_the_worker():
    preprocessor = ViewPreprocessor()
    differences = []
    for seed in range(20):
        clips = [smooth_frame(6 * seed + number) for number in range(6)]
        made = clip_views(clips, STRONG, num_clips=2, seed=seed)['views']
        sample = clip_views(clips, STRONG, num_clips=2, seed=seed, on_device=True)
        packed = PackViews()(sample | dict(rng=np.random.default_rng(0)))
        batch = preprocessor(default_collate([packed] * 2), training=True)
        for view, expected in zip(batch.inputs, made, strict=True):
            assert view.shape == (2, 3, 3, 16, 16)
            frames = preprocessor.denormalize(view[1].transpose(0, 1)).permute(0, 2, 3, 1)
            differences.append(np.abs(frames.numpy() - np.stack(expected).astype(float)))
    # Rounding, of which hues have the coarsest, as for images.
    assert np.max(differences) <= 12
    assert np.mean(differences) <= 0.7
