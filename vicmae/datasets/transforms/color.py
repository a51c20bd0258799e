# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""How a view's colours change. Each takes `img` (H, W, 3), uint8, RGB, and the sample's `rng`."""

from collections.abc import Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform

from vicmae.registry import TRANSFORMS

from .crop import check_probability


@TRANSFORMS.register_module()
class ColorJitter(BaseTransform):
    """Changes brightness, contrast, saturation and hue, in random order.

    **Required keys:** img, rng. **Modified keys:** img.

    Args:
        brightness: Factor drawn from 1 - brightness to 1 + brightness.
        contrast: Likewise.
        saturation: Likewise.
        hue: Turn of the colour circle drawn from -hue to hue, at most 0.5.
        prob: How often anything is changed.
    """

    def __init__(
        self,
        *,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.2,
        hue: float = 0.1,
        prob: float = 0.8,
    ) -> None:
        for name, value, limit in [
            ('brightness', brightness, 1),
            ('contrast', contrast, 1),
            ('saturation', saturation, 1),
            ('hue', hue, 0.5),
        ]:
            if not 0 <= value <= limit:
                raise ValueError(f'`{name}` must be in [0, {limit}], got {value}.')
        self.prob = check_probability('prob', prob)
        self.spans = dict(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        rng, img = results['rng'], results['img']
        if rng.random() >= self.prob:
            return results
        shifts = {name: rng.uniform(-span, span) for name, span in self.spans.items()}
        for name in rng.permutation(list(shifts)):
            img = _ADJUST[name](img, shifts[name])
        return {**results, 'img': img}

    def __repr__(self) -> str:
        return f'ColorJitter(prob={self.prob}, {self.spans})'


# mmcv weighs channels as BGR, hence the flips where that matters.
_ADJUST = {
    'brightness': lambda img, shift: mmcv.adjust_brightness(img, 1 + shift, backend='cv2'),
    'contrast': lambda img, shift: _in_bgr(mmcv.adjust_contrast, img, 1 + shift),
    'saturation': lambda img, shift: _in_bgr(mmcv.adjust_color, img, 1 + shift),
    'hue': lambda img, shift: _turn_hue(img, shift),
}


def _in_bgr(adjust: Any, img: np.ndarray, factor: float) -> np.ndarray:
    adjusted = adjust(img[..., ::-1], factor, backend='cv2')
    return np.ascontiguousarray(adjusted[..., ::-1])


def _turn_hue(img: np.ndarray, turn: float) -> np.ndarray:
    """Turns the hue by a share of the colour circle, which OpenCV keeps in 256 steps (_FULL)."""
    steps = round(turn * 256) % 256
    if steps == 0:  # there and back costs up to eight levels of a channel
        return img
    hsv = cv2.cvtColor(img, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(steps)  # wraps around, as hues do
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


@TRANSFORMS.register_module()
class RandomGrayscale(BaseTransform):
    """Takes the colours away.

    **Required keys:** img, rng. **Modified keys:** img.

    Args:
        prob: How often.
    """

    def __init__(self, prob: float = 0.2) -> None:
        self.prob = check_probability('prob', prob)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if results['rng'].random() >= self.prob:
            return results
        gray = cv2.cvtColor(results['img'], cv2.COLOR_RGB2GRAY)
        return {**results, 'img': cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)}

    def __repr__(self) -> str:
        return f'RandomGrayscale(prob={self.prob})'


@TRANSFORMS.register_module()
class GaussianBlur(BaseTransform):
    """Blurs with a kernel of random width.

    **Required keys:** img, rng. **Modified keys:** img.

    Args:
        sigma: Least and largest standard deviation, in pixels of the view.
        prob: How often.
        kernel_size: Pixels that the kernel spans, odd: one number, or (width, height), as in OpenCV and
            torchvision. None for as many as the drawn sigma needs.
    """

    def __init__(
        self,
        sigma: Sequence[float] = (0.1, 2.0),
        prob: float = 0.5,
        kernel_size: int | Sequence[int] | None = None,
    ) -> None:
        if len(sigma) != 2 or not 0 < sigma[0] <= sigma[1]:
            raise ValueError(f'`sigma` must be two positive numbers in rising order, got {sigma}.')
        self.sigma = (sigma[0], sigma[1])
        self.prob = check_probability('prob', prob)
        self.kernel_size = _check_kernel_size(kernel_size)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        rng = results['rng']
        if rng.random() >= self.prob:
            return results
        size = self.kernel_size or (0, 0)  # OpenCV's word for: from sigma
        return {**results, 'img': cv2.GaussianBlur(results['img'], size, rng.uniform(*self.sigma))}

    def __repr__(self) -> str:
        return f'GaussianBlur(sigma={self.sigma}, prob={self.prob}, kernel_size={self.kernel_size})'


def _check_kernel_size(kernel_size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if kernel_size is None:
        return None
    size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(size) != 2 or any(pixels < 1 or pixels % 2 != 1 for pixels in size):
        raise ValueError(
            '`kernel_size` must be one odd positive number of pixels, or two for (width, height), '
            f'got {kernel_size}. None takes what `sigma` needs.'
        )
    return size[0], size[1]


@TRANSFORMS.register_module()
class RandomSolarize(BaseTransform):
    """Inverts what is bright: values from a threshold on become 255 less their own.

    **Required keys:** img, rng. **Modified keys:** img.

    Args:
        threshold: Least value that is inverted, whole, in 0..255.
        prob: How often.
    """

    def __init__(self, threshold: int = 128, prob: float = 0.2) -> None:
        if not 0 <= threshold <= 255 or threshold != int(threshold):
            raise ValueError(
                f'`threshold` must be a whole pixel value in [0, 255], got {threshold}.'
            )
        self.threshold = threshold
        self.prob = check_probability('prob', prob)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        if results['rng'].random() >= self.prob:
            return results
        img = results['img']
        return {**results, 'img': np.where(img >= self.threshold, 255 - img, img)}

    def __repr__(self) -> str:
        return f'RandomSolarize(threshold={self.threshold}, prob={self.prob})'
