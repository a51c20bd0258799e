# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Makes a view of a frame. H W pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vicmae.io.image import REDUCTIONS, EncodedImage
from vicmae.structures import STAGES, as_vector

from .build import Pipeline
from .crop import Box, RandomResizedCrop, crop_and_resize
from .view_change import ViewChange

Frame = np.ndarray | EncodedImage


class View:
    """Makes a view of a frame by transforms, and decodes the frame at the size that the view needs.

    With `on_device`, augmentations that the device can apply are only drawn here.
    """

    def __init__(self, transforms: Sequence[Any], on_device: bool = False) -> None:
        steps = list(Pipeline(transforms))
        self.deferred: list[ViewChange] = []
        if on_device:
            start = next((i for i, s in enumerate(steps) if isinstance(s, ViewChange)), len(steps))
            steps, self.deferred = steps[:start], check_deferred(steps[start:])
        self.crop = steps.pop(0) if steps and isinstance(steps[0], RandomResizedCrop) else None
        self.steps = Pipeline(steps)

    def draw_box(self, frame: Frame, rng: np.random.Generator) -> Box:
        """Draws the box of the view. It is the whole frame if the first transform is not a crop."""
        if isinstance(frame, EncodedImage):
            height, width = frame.height, frame.width
        else:
            height, width = frame.shape[:2]
        return self.crop.draw_box(height, width, rng) if self.crop else (0, 0, height, width)

    def reduction(self, box: Box) -> int:
        """Returns the largest reduction in decoding at which the box has at least as many pixels as the view."""
        if self.crop is None:
            return 1
        factor = min(side // size for side, size in zip(box[2:], self.crop.size, strict=True))
        return max(r for r in REDUCTIONS if r <= max(factor, 1))

    def make(
        self, pixels: np.ndarray, box: Box, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the view (H, W, 3), and the augmentations for the device."""
        img = crop_and_resize(pixels, box, self.crop.size) if self.crop else pixels
        img = self.steps(dict(img=img, rng=rng))['img']
        drawn: dict[str, float] = {}
        for change in self.deferred:
            drawn |= change.draw(rng)
        return img, as_vector(drawn)

    def make_clip(
        self, frames: Sequence[np.ndarray], seed: int
    ) -> tuple[list[np.ndarray], Box, np.ndarray]:
        """Makes the same view of each frame: T times (H, W, 3). Returns it with its box, and the augmentations."""
        made = []
        for frame in frames:
            rng = np.random.default_rng(seed)  # the same random choices for each frame
            box = self.draw_box(frame, rng)
            made.append((*self.make(frame, box, rng), box))
        views, (drawn, *_), (box, *_) = zip(*made, strict=True)
        return list(views), box, drawn

    def __repr__(self) -> str:
        return repr([*filter(None, [self.crop]), *self.steps, *self.deferred])


def check_deferred(steps: list[Any]) -> list[ViewChange]:
    """Returns the transforms for the device, or raises a ValueError if it can't apply them in this order."""
    stages = []
    for step in steps:
        name = type(step).__name__
        if not isinstance(step, ViewChange):
            raise ValueError(
                f'With `on_device=True`, no transform can follow those that run on the device, got {name}. '
                f'Put it before {type(steps[0]).__name__}, or set `on_device=False`.'
            )
        stages.append(STAGES.index(step.stage))
        if stages != sorted(set(stages)):
            raise ValueError(
                f'With `on_device=True`, each augmentation is applied at most once, in the order {", ".join(STAGES)}; '
                f'{name} is repeated or too late in `transforms`. Reorder them, or set `on_device=False`.'
            )
    return steps


def scale_box(box: Box, reduction: int) -> Box:
    """Scales a box to a reduced image, within half a pixel."""
    top, left, height, width = box
    # Half a pixel is rounded up, so that no side loses a pixel.
    ends = [int(end / reduction + 0.5) for end in (top, left, top + height, left + width)]
    return ends[0], ends[1], ends[2] - ends[0], ends[3] - ends[1]
