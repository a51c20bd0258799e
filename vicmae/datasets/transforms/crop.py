# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Crops and flips of frames. H W pixels."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from vicmae.registry import TRANSFORMS

from .base import Transform, check_range
from .view_change import ViewChange

Box = tuple[int, int, int, int]  # top, left, height, width


def crop_and_resize(img: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    """Crops a box of an image and resizes it, bicubic and antialiased: (H, W, 3) -> (*size, 3), uint8."""
    top, left, height, width = box
    cut = torch.from_numpy(img[top : top + height, left : left + width])
    # Adding the batch axis first gives channels-last memory, which torch resizes in half the time without a copy.
    pixels = cut[None].permute(0, 3, 1, 2)
    resized = F.interpolate(pixels, size, mode='bicubic', antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


@TRANSFORMS.register_module()
class RandomResizedCrop(Transform):
    """Crops a random part of the image and resizes it.

    With a `scale` of (1, 1), it is the largest centred box with a ratio in range: with a `ratio` of (1, 1), the largest
    square.

    **Required keys:** img, rng. **Modified keys:** img.

    Args:
        size: Size of the result in pixels: of a side, or (height, width).
        scale: Smallest and largest area of the crop, as a share of the image, in (0, 1].
        ratio: Smallest and largest width over height of the crop, above 0.
    """

    follows: ClassVar = dict(size='image_size')

    def __init__(
        self,
        size: int | tuple[int, int] = 224,
        *,
        scale: Sequence[float] = (0.2, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])
        self.scale = check_range('scale', scale)
        self.ratio = check_range('ratio', ratio)
        self._log_ratio = math.log(self.ratio[0]), math.log(self.ratio[1])
        if self.scale[1] > 1:
            raise ValueError(f'`scale` is a share of the area and must be at most 1, got {scale}.')

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        img = results['img']
        box = self.draw_box(img.shape[0], img.shape[1], results['rng'])
        return {**results, 'img': crop_and_resize(img, box, self.size)}

    def draw_box(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """Draws (top, left, height, width), or returns the largest centred box after ten boxes that don't fit."""
        if self.scale[0] == 1:  # else rounding could accept 100 x 100 as all of 100 x 101
            return self.largest_box(height, width)
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(*self._log_ratio))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top = int(rng.integers(height - h + 1))
                left = int(rng.integers(width - w + 1))
                return top, left, h, w
        return self.largest_box(height, width)

    def largest_box(self, height: int, width: int) -> Box:
        """Returns the largest centred box with a ratio in range."""
        ratio = np.clip(width / height, *self.ratio)
        h = min(height, max(1, round(width / ratio)))
        w = min(width, max(1, round(height * ratio)))
        return (height - h) // 2, (width - w) // 2, h, w


@TRANSFORMS.register_module()
class RandomFlip(ViewChange):
    """Mirrors the image left to right at random.

    **Required keys:** img, rng. **Modified keys:** img.

    Args:
        prob: Probability that the image is mirrored.
    """

    stage = 'flip'

    def __init__(self, prob: float = 0.5) -> None:
        super().__init__(prob)

    def draw_change(self, rng: np.random.Generator) -> dict[str, float]:
        return dict(flip=1)

    def apply(self, img: np.ndarray, drawn: dict[str, float]) -> np.ndarray:
        return cv2.flip(img, 1)


@TRANSFORMS.register_module()
class CenterCrop(Transform):
    """Crops the centre of each frame, for evaluation.

    **Required keys:** frames. **Modified keys:** frames.

    Args:
        size: Size of the result in pixels: of a side, or (height, width).
        crop_ratio: Sides of the crop over those of the largest box of the same shape, in (0, 1]; 224 / 256 is usual.
    """

    follows: ClassVar = dict(size='image_size')

    def __init__(self, size: int | tuple[int, int] = 224, *, crop_ratio: float = 224 / 256) -> None:
        if not 0 < crop_ratio <= 1:
            raise ValueError(f'`crop_ratio` must be in (0, 1], got {crop_ratio}.')
        self.size = (size, size) if isinstance(size, int) else (size[0], size[1])
        self.crop_ratio = crop_ratio

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        return {**results, 'frames': [self.crop(frame) for frame in results['frames']]}

    def crop(self, frame: np.ndarray) -> np.ndarray:
        """Crops one frame."""
        height, width = frame.shape[:2]
        shape = self.size[1] / self.size[0]
        rows = min(height, width / shape) * self.crop_ratio
        h, w = max(1, round(rows)), max(1, round(rows * shape))
        return crop_and_resize(frame, ((height - h) // 2, (width - w) // 2, h, w), self.size)


@TRANSFORMS.register_module()
class SpatialCrops(Transform):
    """Crops several squares of each frame, evenly spaced along its longer side, for evaluation.

    Each clip has one view per crop: left, centre and right of a landscape, top, centre and bottom of a portrait.

    **Required keys:** frames. **Optional keys:** num_clips. **Modified keys:** frames (of each clip, those of the first
    crop, then of the next). **Added keys:** num_crops.

    Args:
        size: Pixels of a side of the result.
        num_crops: Number of crops, at least 1. A single crop is in the centre.
    """

    follows: ClassVar = dict(size='image_size')

    def __init__(self, size: int = 224, num_crops: int = 3) -> None:
        if num_crops < 1:
            raise ValueError(f'`num_crops` must be positive, got {num_crops}.')
        self.size = size
        self.num_crops = num_crops

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        frames, num_clips = results['frames'], results.get('num_clips', 1)
        clip_len = len(frames) // num_clips
        views = [
            self.crop(frame, number)
            for start in range(0, len(frames), clip_len)
            for number in range(self.num_crops)
            for frame in frames[start : start + clip_len]
        ]
        return {**results, 'frames': views, 'num_crops': self.num_crops}

    def crop(self, frame: np.ndarray, number: int) -> np.ndarray:
        """Crops a frame at one of the positions."""
        height, width = frame.shape[:2]
        side = min(height, width)
        position = number / (self.num_crops - 1) if self.num_crops > 1 else 0.5
        top, left = (round(position * (length - side)) for length in (height, width))
        return crop_and_resize(frame, (top, left, side, side), (self.size, self.size))
