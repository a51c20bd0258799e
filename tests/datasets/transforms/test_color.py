# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Changes of colours, compared with slow loops over pixels."""

import colorsys

import numpy as np
import pytest

from vicmae.datasets import ColorJitter, GaussianBlur, RandomGrayscale, RandomSolarize

OFF = dict(brightness=0, contrast=0, saturation=0, hue=0, prob=1.0)
LUMA = (0.299, 0.587, 0.114)


class Fixed:
    """A generator that draws one shift, 0 for what has no strength, and leaves the order alone."""

    def __init__(self, shift):
        self.shift = shift

    def random(self):
        return 0.0

    def uniform(self, low, high):
        return self.shift if low < high else 0.0

    def permutation(self, names):
        return names


def picture():
    return np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)


def jitter(img, shift, **strengths):
    return ColorJitter(**{**OFF, **strengths})(dict(img=img, rng=Fixed(shift)))['img']


def luma(pixel):
    return sum(weight * float(value) for weight, value in zip(LUMA, pixel, strict=True))


def blend(img, other, factor):
    """Pillow's definition of all three: factor * image + (1 - factor) * other, pixel by pixel."""
    out = np.zeros(img.shape)
    for y in range(img.shape[0]):
        for x in range(img.shape[1]):
            for c in range(3):
                value = factor * float(img[y, x, c]) + (1 - factor) * other(y, x)
                out[y, x, c] = min(max(value, 0), 255)
    return out


@pytest.mark.parametrize('shift', [-0.7, -0.3, 0.2, 0.9])
def test_changes_blend_with_black_the_mean_gray_or_the_gray_of_the_pixel(shift):
    img = picture()
    mean = np.mean([luma(pixel) for pixel in img.reshape(-1, 3)])
    for name, other, error in [
        ('brightness', lambda y, x: 0.0, 0.5),
        ('contrast', lambda y, x: mean, 0.6),
        ('saturation', lambda y, x: luma(img[y, x]), 1),
    ]:
        expected = blend(img, other, 1 + shift)
        assert np.abs(jitter(img, shift, **{name: 1}) - expected).max() <= error


@pytest.mark.parametrize('shift', [-0.5, -0.1, 0.25, 0.5])
def test_hue_shifts_along_the_colour_circle(shift):
    img = picture()
    turned = jitter(img, shift, hue=0.5)
    for before, after in zip(img.reshape(-1, 3), turned.reshape(-1, 3), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(before / 255))
        expected = 255 * np.array(colorsys.hsv_to_rgb((h + shift) % 1, s, v))
        # Hue is kept in 256 steps, each 6 levels of a channel: half a step of the hue, half of the turn.
        assert np.abs(after - expected).max() <= 8


def test_hue_shift_keeps_grays():
    grays = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    assert np.array_equal(jitter(grays, 0.5, hue=0.5), grays)


def test_jitter_depends_on_the_generator_and_has_its_probability():
    img = picture()

    def run(seed, prob):
        return ColorJitter(prob=prob)(dict(img=img, rng=np.random.default_rng(seed)))['img']

    assert np.array_equal(run(1, 1.0), run(1, 1.0))
    assert not np.array_equal(run(1, 1.0), run(2, 1.0))
    assert np.mean([run(seed, 0.3) is img for seed in range(500)]) == pytest.approx(0.7, abs=0.08)


def test_order_of_the_changes_is_random():
    # Brightness in front of contrast and behind it give two results; nothing else differs here.
    img = picture()

    class Reversed(Fixed):
        def permutation(self, names):
            return names[::-1]

    strong = ColorJitter(**{**OFF, 'brightness': 1, 'contrast': 1})
    forward = strong(dict(img=img, rng=Fixed(0.5)))['img']
    assert not np.array_equal(strong(dict(img=img, rng=Reversed(0.5)))['img'], forward)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(brightness=1.2), r'`brightness` must be in \[0, 1\], got 1.2'),
        (dict(contrast=-0.1), r'`contrast` must be in \[0, 1\], got -0.1'),
        (dict(hue=0.6), r'`hue` must be in \[0, 0.5\], got 0.6'),
        (dict(prob=2), r'`prob` is a probability in \[0, 1\], got 2'),
    ],
)
def test_invalid_strengths_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ColorJitter(**options)


def test_grayscale_puts_the_luma_into_every_channel():
    img = picture()
    gray = RandomGrayscale(1.0)(dict(img=img, rng=np.random.default_rng(0)))['img']
    expected = np.array([luma(pixel) for pixel in img.reshape(-1, 3)]).reshape(12, 17, 1)
    assert np.abs(gray - expected).max() <= 0.51
    assert RandomGrayscale(0.0)(dict(img=img, rng=np.random.default_rng(0)))['img'] is img


def blur(img, sigma, seed=0, prob=1.0):
    return GaussianBlur(sigma, prob=prob)(dict(img=img, rng=np.random.default_rng(seed)))['img']


def test_blur_keeps_constant_images():
    flat = np.full((9, 11, 3), (10, 120, 250), np.uint8)
    assert np.array_equal(blur(flat, (0.1, 2.0)), flat)


def test_blur_draws_its_width_from_the_range():
    img = picture()
    rough = [np.diff(blur(img, (0.1, 3.0), seed).astype(float)).std() for seed in range(8)]
    assert max(rough) > 2 * min(rough)
    assert blur(img, (0.1, 2.0), prob=0.0) is img


@pytest.mark.parametrize('sigma', [(2.0, 0.1), (0, 1), (1.0,)])
def test_blur_refuses_invalid_widths(sigma):
    with pytest.raises(ValueError, match='`sigma` must be two positive numbers in ascending order'):
        GaussianBlur(sigma)


@pytest.mark.parametrize(
    ('kernel_size', 'width', 'height'), [((5, 9), 5, 9), ([3, 1], 3, 1), (7, 7, 7)]
)
def test_blur_of_a_point_is_a_gaussian_over_the_kernel(kernel_size, width, height):
    point = np.zeros((31, 31, 3), np.uint8)
    point[15, 15] = 255
    transform = GaussianBlur((2.0, 2.0), prob=1.0, kernel_size=kernel_size)
    spread = transform(dict(img=point, rng=np.random.default_rng(0)))['img'][..., 0]

    def gaussian(size):
        x = np.arange(31) - 15
        kernel = np.exp(-(x**2) / (2 * 2.0**2)) * (np.abs(x) <= size // 2)
        return kernel / kernel.sum()

    expected = 255 * np.outer(gaussian(height), gaussian(width))
    assert np.abs(spread - expected).max() <= 1
    assert np.flatnonzero(spread.any(axis=0)).tolist() == list(range(31))[slice_around(width)]
    assert np.flatnonzero(spread.any(axis=1)).tolist() == list(range(31))[slice_around(height)]


def slice_around(size):
    return slice(15 - size // 2, 15 + size // 2 + 1)


@pytest.mark.parametrize('kernel_size', [0, 4, -3, (5, 8), (5, 9, 3)])
def test_blur_refuses_even_kernels(kernel_size):
    with pytest.raises(ValueError, match=r'`kernel_size` must be one odd positive .* got .*\d'):
        GaussianBlur(kernel_size=kernel_size)


def solarize(img, threshold, prob=1.0, seed=0):
    transform = RandomSolarize(threshold, prob)
    return transform(dict(img=img, rng=np.random.default_rng(seed)))['img']


@pytest.mark.parametrize('threshold', [0, 1, 128, 255])
def test_solarize_inverts_values_from_the_threshold_on(threshold):
    img = np.arange(768, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)  # every value
    expected = img.copy()
    for index in np.ndindex(img.shape):
        if img[index] >= threshold:
            expected[index] = 255 - int(img[index])
    result = solarize(img, threshold)
    assert result.dtype == np.uint8
    assert np.array_equal(result, expected)
    assert img[0, 0, 0] == 0 and img[-1, -1, -1] == 255  # left as it was


def test_solarize_has_its_probability():
    img = picture()
    kept = [solarize(img, 128, prob=0.2, seed=seed) is img for seed in range(500)]
    assert np.mean(kept) == pytest.approx(0.8, abs=0.08)
    assert solarize(img, 128, prob=0.0) is img


@pytest.mark.parametrize('threshold', [-1, 256, 0.5])
def test_solarize_refuses_invalid_thresholds(threshold):
    with pytest.raises(ValueError, match=rf'`threshold` must be a whole .* got {threshold}\.'):
        RandomSolarize(threshold)
