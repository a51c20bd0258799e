# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Random changes of the colours of a view."""

from collections.abc import Sequence

import cv2
import numpy as np

from vicmae.registry import TRANSFORMS
from vicmae.structures import STEPS

from .base import check_range
from .view_change import ViewChange


@TRANSFORMS.register_module()
class ColorJitter(ViewChange):
    """Changes brightness, contrast, saturation and hue, in random order.

    **Required keys:** img, rng. **Modified keys:** img.

    Args:
        brightness: Range of the factor: 1 - brightness to 1 + brightness.
        contrast: Range of the contrast factor, given as for `brightness`.
        saturation: Range of the saturation factor, given as for `brightness`.
        hue: Range of the shift of the hue: -hue to hue, at most 0.5 (half of the colour circle).
        prob: Probability that the image is changed.
    """

    stage = 'jitter'

    def __init__(
        self,
        *,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.2,
        hue: float = 0.1,
        prob: float = 0.8,
    ) -> None:
        self.spans = dict(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
        for name, value in self.spans.items():
            limit = 0.5 if name == 'hue' else 1
            if not 0 <= value <= limit:
                raise ValueError(f'`{name}` must be in [0, {limit}], got {value}.')
        super().__init__(prob)

    def draw_change(self, rng: np.random.Generator) -> dict[str, float]:
        shifts = {name: rng.uniform(-span, span) for name, span in self.spans.items()}
        factors = {name: 1 + shifts[name] for name in shifts if name != 'hue'}
        order = rng.permutation(list(shifts))
        steps = {f'{name}_step': step for step, name in enumerate(order)}
        return {**factors, 'hue': shifts['hue'], **steps}

    def apply(self, img: np.ndarray, drawn: dict[str, float]) -> np.ndarray:
        for name in sorted(STEPS, key=lambda name: drawn[f'{name}_step']):
            img = _ADJUST[name](img, drawn[name])
        return img


def _blend(img: np.ndarray, factor: float, other: float) -> np.ndarray:
    """Moves all values away from another one, or towards it if the factor is below 1."""
    values = factor * np.arange(256) + (1 - factor) * other
    return cv2.LUT(img, values.round().clip(0, 255).astype(np.uint8))


def _adjust_contrast(img: np.ndarray, factor: float) -> np.ndarray:
    return _blend(img, factor, cv2.cvtColor(img, cv2.COLOR_RGB2GRAY).mean())


def _gray(img: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(img, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _adjust_saturation(img: np.ndarray, factor: float) -> np.ndarray:
    return cv2.addWeighted(img, factor, _gray(img), 1 - factor, 0)


def _turn_hue(img: np.ndarray, turn: float) -> np.ndarray:
    """Shifts the hue by a share of the colour circle, which OpenCV stores in 256 steps (_FULL)."""
    steps = round(turn * 256) % 256
    if steps == 0:  # the conversions change a channel by up to eight levels
        return img
    hsv = cv2.cvtColor(img, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(steps)  # uint8 wraps around, as hues do
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


_ADJUST = {
    'brightness': lambda img, factor: _blend(img, factor, 0),
    'contrast': _adjust_contrast,
    'saturation': _adjust_saturation,
    'hue': _turn_hue,
}


@TRANSFORMS.register_module()
class RandomGrayscale(ViewChange):
    """Converts the image to gray at random.

    **Required keys:** img, rng. **Modified keys:** img.

    Args:
        prob: Probability that the image is changed.
    """

    stage = 'grayscale'

    def __init__(self, prob: float = 0.2) -> None:
        super().__init__(prob)

    def draw_change(self, rng: np.random.Generator) -> dict[str, float]:
        return dict(grayscale=1)

    def apply(self, img: np.ndarray, drawn: dict[str, float]) -> np.ndarray:
        return _gray(img)


@TRANSFORMS.register_module()
class GaussianBlur(ViewChange):
    """Blurs the image with a Gaussian of random width.

    **Required keys:** img, rng. **Modified keys:** img.

    Args:
        sigma: Smallest and largest standard deviation, in pixels of the view.
        prob: Probability that the image is changed.
        kernel_size: Odd number of pixels of the kernel, or (width, height), as in OpenCV and torchvision. None
            computes it from sigma.
    """

    stage = 'blur'

    def __init__(
        self,
        sigma: Sequence[float] = (0.1, 2.0),
        prob: float = 0.5,
        kernel_size: int | Sequence[int] | None = None,
    ) -> None:
        self.sigma = check_range('sigma', sigma)
        super().__init__(prob)
        self.kernel_size = _check_kernel_size(kernel_size)

    def draw_change(self, rng: np.random.Generator) -> dict[str, float]:
        width, height = self.kernel_size or (0, 0)  # 0: OpenCV computes it from sigma
        return dict(blur_sigma=rng.uniform(*self.sigma), blur_width=width, blur_height=height)

    def apply(self, img: np.ndarray, drawn: dict[str, float]) -> np.ndarray:
        size = int(drawn['blur_width']), int(drawn['blur_height'])
        return cv2.GaussianBlur(img, size, drawn['blur_sigma'])


def _check_kernel_size(kernel_size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if kernel_size is None:
        return None
    size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(size) != 2 or any(pixels < 1 or pixels % 2 != 1 for pixels in size):
        raise ValueError(
            '`kernel_size` must be one odd positive number of pixels, or two for (width, height), '
            f'got {kernel_size}. None computes it from `sigma`.'
        )
    return size[0], size[1]


@TRANSFORMS.register_module()
class RandomSolarize(ViewChange):
    """Inverts bright values: x becomes 255 - x if x is at least a threshold.

    **Required keys:** img, rng. **Modified keys:** img.

    Args:
        threshold: Smallest value that is inverted, an integer from 0 to 255.
        prob: Probability that the image is changed.
    """

    stage = 'solarize'

    def __init__(self, threshold: int = 128, prob: float = 0.2) -> None:
        if not 0 <= threshold <= 255 or threshold != int(threshold):
            raise ValueError(
                f'`threshold` must be a whole pixel value in [0, 255], got {threshold}.'
            )
        self.threshold = threshold
        super().__init__(prob)

    def draw_change(self, rng: np.random.Generator) -> dict[str, float]:
        return dict(solarize=self.threshold)

    def apply(self, img: np.ndarray, drawn: dict[str, float]) -> np.ndarray:
        return np.where(img >= drawn['solarize'], 255 - img, img)
