# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Augmentation of batches on the device, compared with slow loops over pixels and OpenCV on one image."""

import colorsys
import itertools
import math
import os

import cv2
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vicmae.datasets import ColorJitter, GaussianBlur, RandomFlip, RandomGrayscale, RandomSolarize
from vicmae.models.data_preprocessors import batch_augment
from vicmae.models.data_preprocessors.batch_augment import augment_batch
from vicmae.structures import STEPS, as_vector

# Everything at once, one number of each far from what changes nothing.
STRONG = dict(
    flip=1,
    brightness=1.3,
    contrast=0.6,
    saturation=1.7,
    hue=-0.2,
    brightness_step=2,
    contrast_step=0,
    saturation_step=3,
    hue_step=1,
    grayscale=0,
    blur_sigma=1.3,
    solarize=128,
)
ALONE = [
    dict(flip=1),
    dict(brightness=1.6),
    dict(brightness=0.3),
    dict(contrast=1.6),
    dict(contrast=0.3),
    dict(saturation=2.0),
    dict(saturation=0.0),
    dict(hue=0.3),
    dict(hue=-0.5),
    dict(grayscale=1),
    dict(blur_sigma=0.1),
    dict(blur_sigma=2.0),
    dict(blur_sigma=5.0),  # a kernel of 31, wider than the picture twice over
    dict(blur_sigma=1.5, blur_width=5, blur_height=9),
    dict(solarize=100),
    dict(solarize=0),
]


def picture(seed=0, height=12, width=17):
    """Noise, with grays, black, white and pure colours in a corner."""
    img = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    img[0, :5] = np.array([[90] * 3, [0] * 3, [255] * 3, [255, 0, 0], [0, 255, 255]])
    return img


def augment(images, changes, device='cpu'):
    """A batch of (H, W, 3) uint8 images and their changes, through the function under test."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    numbers = torch.from_numpy(np.stack([as_vector(change) for change in changes]))
    changed = augment_batch(pixels.to(device), numbers)
    assert changed.dtype == torch.float32
    assert changed.is_contiguous()
    return changed.permute(0, 2, 3, 1).cpu().numpy()


def luma(pixel):
    return 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]


def per_pixel(img, function):
    return np.array([[function(pixel) for pixel in row] for row in img])


def turned(pixel, turn):
    h, s, v = colorsys.rgb_to_hsv(*(pixel / 255))
    return 255 * np.array(colorsys.hsv_to_rgb((h + turn) % 1, s, v))


def jittered(img, name, value):
    """One of the four, as Pillow defines them."""
    if name == 'hue':
        return per_pixel(img, lambda pixel: turned(pixel, value))
    if name == 'brightness':
        other = 0.0
    elif name == 'contrast':
        other = np.mean([luma(pixel) for pixel in img.reshape(-1, 3)])
    else:
        other = per_pixel(img, lambda pixel: [luma(pixel)] * 3)
    return np.clip(value * img + (1 - value) * other, 0, 255)


def mirrored(index, size):
    """... 2 1 | 0 1 2 ... size-1 | size-2 ...: the outermost pixel is there once."""
    while not 0 <= index < size:
        index = -index if index < 0 else 2 * (size - 1) - index
    return index


def blurred(img, sigma, size, axis):
    size = size or round(6 * sigma + 1) | 1
    weights = [math.exp(-((i - size // 2) ** 2) / (2 * sigma**2)) for i in range(size)]
    length = img.shape[axis]
    out = np.zeros_like(img)
    for place in range(length):
        for i, weight in enumerate(weights):
            source = img.take(mirrored(place + i - size // 2, length), axis)
            target = (place,) if axis == 0 else (slice(None), place)
            out[target] += weight / sum(weights) * source
    return out


def reference(img, changes):
    img = img.astype(float)
    if changes.get('flip'):
        img = img[:, ::-1]
    for name in sorted(STEPS, key=lambda n: changes.get(f'{n}_step', STEPS.index(n))):
        if name in changes:
            img = jittered(img, name, changes[name])
    if changes.get('grayscale'):
        img = per_pixel(img, lambda pixel: [luma(pixel)] * 3)
    if 'blur_sigma' in changes:
        for axis, side in enumerate(['height', 'width']):
            img = blurred(img, changes['blur_sigma'], changes.get(f'blur_{side}'), axis)
    threshold = changes.get('solarize', 256) - 0.5  # rounded, as a uint8 image would be
    return np.where(img >= threshold, 255 - img, img)


def largest_difference(changed, images, changes):
    pairs = zip(changed, images, changes, strict=True)
    return max(np.abs(one - reference(img, change)).max() for one, img, change in pairs)


@pytest.mark.parametrize('change', ALONE, ids=str)
def test_each_change_follows_its_formula(change):
    img = picture()
    changed = augment([img], [change])
    assert largest_difference(changed, [img], [change]) < 1e-2
    assert np.abs(changed - img).max() > (0.0 if change == dict(blur_sigma=0.1) else 10)


def test_jitter_is_made_in_every_order():
    orders = list(itertools.permutations(range(4)))
    steps = [{f'{n}_step': step for n, step in zip(STEPS, order, strict=True)} for order in orders]
    changes = [dict(brightness=1.4, contrast=1.5, saturation=0.4, hue=0.2) | one for one in steps]
    img = picture(height=5, width=6)
    changed = augment([img] * 24, changes)
    assert largest_difference(changed, [img] * 24, changes) < 1e-2
    assert len(np.unique(changed.reshape(24, -1).round(1), axis=0)) == 24


def test_batch_of_mixed_changes_has_the_views_of_single_ones(monkeypatch):
    monkeypatch.setattr(batch_augment, 'CHUNK', 3)  # as batches are, larger than a chunk
    changes = [STRONG, *ALONE, {}]
    images = [picture(seed) for seed in range(len(changes))]
    together = augment(images, changes)
    alone = [augment([img], [change])[0] for img, change in zip(images, changes, strict=True)]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-3)
    assert largest_difference(together, images, changes) < 1e-2


def test_view_without_changes_is_returned_bit_for_bit():
    images = [picture(0), picture(1), picture(2)]
    changed = augment(images, [{}, STRONG, {}])
    assert np.array_equal(changed[[0, 2]], np.stack([images[0], images[2]]))
    assert not np.array_equal(changed[1], images[1])


def test_input_batch_is_not_modified():
    pixels = torch.rand(2, 3, 8, 8) * 255
    before = pixels.clone()
    augment_batch(pixels, torch.from_numpy(np.stack([as_vector(STRONG)] * 2)))
    assert torch.equal(pixels, before)


def test_frames_of_a_clip_are_augmented_like_images_by_the_values_of_the_clip():
    clips = [[picture(3 * clip + time) for time in range(3)] for clip in range(4)]
    changes = [STRONG, {}, dict(contrast=0.3), dict(blur_sigma=2.0)]
    pixels = torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3)
    numbers = torch.from_numpy(np.stack([as_vector(change) for change in changes]))
    changed = augment_batch(pixels, numbers)
    for clip, views, change in zip(clips, changed, changes, strict=True):
        assert largest_difference(views.permute(0, 2, 3, 1).numpy(), clip, [change] * 3) < 1e-2
    assert torch.equal(changed[1], pixels[1].float())


@pytest.mark.parametrize(
    ('transform', 'levels'),
    [
        (RandomFlip(1.0), 0),
        (RandomGrayscale(1.0), 0.51),
        (RandomSolarize(97, prob=1.0), 0),
        # OpenCV's weights for uint8 are multiples of 1/256.
        (GaussianBlur((0.1, 3.0), prob=1.0), 2),
        (GaussianBlur((0.1, 2.0), prob=1.0, kernel_size=(5, 9)), 2),
        # Each of three rounds, and a later one may stretch what an earlier one rounded.
        (ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0, prob=1.0), 2),
        # A hue is one of 256 there, each up to six levels wide; saturation, too.
        (ColorJitter(brightness=0, contrast=0, saturation=0, hue=0.5, prob=1.0), 8),
        (ColorJitter(prob=1.0), 12),
    ],
    ids=repr,
)
def test_device_equals_opencv_on_one_image(transform, levels):
    # Smooth as photographs are: on noise, steps of the hue would be all that one sees.
    images = [cv2.blur(picture(seed, 40, 50), (3, 3)) for seed in range(30)]
    drawn = [transform.draw(np.random.default_rng(seed)) for seed in range(30)]
    expected = [transform.apply(img, one) for img, one in zip(images, drawn, strict=True)]
    difference = np.abs(augment(images, drawn) - np.stack(expected))
    assert difference.max() <= levels
    assert difference.mean() <= 1


def test_mixed_precision_changes_nothing():
    images, changes = [picture(), picture(1)], [STRONG, dict(blur_sigma=1.0, hue=0.1)]
    plain = augment(images, changes)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert np.array_equal(augment(images, changes), plain)


# Their result, or its shape, depends on values that lie on the device; indices might be a mask.
WAITING = {'_local_scalar_dense', 'nonzero', 'masked_select', 'equal', 'index', 'index_put_'}


class HostReads(TorchDispatchMode):
    """Records operations for which the host waits."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in WAITING:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_host_never_waits_for_a_value():
    images, changes = [picture(), picture(1)], [STRONG, STRONG | dict(grayscale=1)]
    with HostReads() as reads:
        augment(images, changes)
    assert reads.seen == []
    with HostReads() as reads:  # so that the check above can fail
        torch.ones(3)[torch.ones(3) > 0].sum().item()
    assert reads.seen == ['index', '_local_scalar_dense']


@pytest.mark.skipif(
    not torch.cuda.is_available() and not os.environ.get('FAIL_WITHOUT_CUDA'),
    reason='needs a GPU (FAIL_WITHOUT_CUDA=1 makes this a failure)',
)
def test_gpu_equals_cpu_without_synchronising():
    changes = [STRONG, *ALONE, {}] * 8
    images = [picture(seed, 40, 50) for seed in range(len(changes))]
    expected = augment(images, changes)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).cuda()
    numbers = torch.from_numpy(np.stack([as_vector(change) for change in changes]))
    torch.cuda.set_sync_debug_mode('error')
    try:
        with torch.autocast('cuda', dtype=torch.bfloat16):
            changed = augment_batch(pixels, numbers)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    np.testing.assert_allclose(changed.permute(0, 2, 3, 1).cpu().numpy(), expected, atol=1e-2)
