# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Makes views from a sample's frames."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from vicmae.io.image import EncodedImage
from vicmae.registry import TRANSFORMS

from .base import FileTransform, Transform
from .crop import Box
from .view import Frame, View, scale_box

Decode = Callable[[EncodedImage, int], np.ndarray]


class _Views(FileTransform):
    """Makes views, each with its own random choices. Images are decoded at the smallest size that all views allow."""

    def __init__(self, views: Sequence[Sequence[Any]], on_device: bool) -> None:
        self.views = [View(transforms, on_device) for transforms in views]
        self.on_device = on_device

    def choose(self, frames: list[Frame]) -> list[Frame]:
        """Returns the frame of each view."""
        raise NotImplementedError  # defined by each subclass

    def transform_together(self, visits: list[dict[str, Any]]) -> list[dict[str, Any]]:
        decode = cache(lambda image, reduction: image.decode(reduction))
        return [self._add_views(visit, decode) for visit in visits]

    def _add_views(self, results: dict[str, Any], decode: Decode) -> dict[str, Any]:
        frames = self.choose(results['frames'])
        seeds = results['rng'].integers(2**63, size=len(frames)).tolist()  # faster than `spawn`
        rngs = [np.random.default_rng(seed) for seed in seeds]
        boxes = [v.draw_box(f, rng) for v, f, rng in zip(self.views, frames, rngs, strict=True)]
        crops = self._decode(frames, boxes, decode)
        made = [v.make(*crop, rng) for v, crop, rng in zip(self.views, crops, rngs, strict=True)]
        added = dict(views=[view for view, _ in made], boxes=boxes)
        if self.on_device:
            added['augment'] = [numbers for _, numbers in made]
        return {**results, **added}

    def _decode(
        self, frames: list[Frame], boxes: list[Box], decode: Decode
    ) -> Iterator[tuple[np.ndarray, Box]]:
        """Yields the pixels of each frame, and the box of the view in them."""
        reductions = [view.reduction(box) for view, box in zip(self.views, boxes, strict=True)]
        for frame, box in zip(frames, boxes, strict=True):
            if isinstance(frame, EncodedImage):
                shared = [r for r, other in zip(reductions, frames, strict=True) if other is frame]
                pixels = decode(frame, min(shared))
                yield pixels, scale_box(box, round(frame.height / len(pixels)))
            else:
                yield frame, box


@TRANSFORMS.register_module()
class OneView(_Views):
    """Makes one view of a sample's first frame, for methods that don't compare views, such as MAE.

    It is equal to the first view of `TwoViews`. For videos, use `SameFramePair`, which decodes only one frame.

    **Required keys:** frames, rng. **Added keys:** views (one, (H, W, 3), uint8), boxes; with `on_device` also augment.

    Args:
        transforms: Transforms of the view: they take `img` and `rng`, and change `img`.
        on_device: Whether flips and changes of colour are only drawn here, and applied on the device, as in `TwoViews`.
    """

    def __init__(self, transforms: list[dict[str, Any]], on_device: bool = False) -> None:
        super().__init__([transforms], on_device)

    def choose(self, frames: list[Frame]) -> list[Frame]:
        return frames[:1]


@TRANSFORMS.register_module()
class TwoViews(_Views):
    """Makes two views of a sample: of its two frames, or both of its single frame. Each has its own random choices.

    **Required keys:** frames, rng. **Added keys:** views (each (H, W, 3), uint8), boxes (each (top, left, height,
    width) of its frame); with `on_device` also augment (each float32, the numbers of `vicmae.structures.FIELDS`).

    Args:
        transforms: Transforms of a view: they take `img` and `rng`, and change `img`.
        second: Transforms of the second view, if they are different.
        on_device: Whether flips and changes of colour are only drawn here, and applied on the device by
            `ViewPreprocessor`. This gives the same views up to rounding, in a fraction of the worker's time. No other
            transforms can follow these.
    """

    def __init__(
        self,
        transforms: list[dict[str, Any]],
        second: list[dict[str, Any]] | None = None,
        on_device: bool = False,
    ) -> None:
        super().__init__([transforms, transforms if second is None else second], on_device)

    def choose(self, frames: list[Frame]) -> list[Frame]:
        return [frames[0], frames[-1]]


@TRANSFORMS.register_module()
class ClipViews(Transform):
    """Makes one view of each clip for pretraining, with the same random choices for all frames of a clip.

    The views of two clips differ, as those of `TwoViews` do. A clip of one frame becomes the view that `OneView` makes.

    **Required keys:** frames, rng. **Optional keys:** num_clips. **Added keys:** views (each T times (H, W, 3), uint8),
    boxes (each (top, left, height, width) of its first frame); with `on_device` also augment (each float32, the numbers
    of `vicmae.structures.FIELDS`).

    Args:
        transforms: Transforms of each frame: they take `img` and `rng`, and change `img`.
        on_device: Whether flips and changes of colour are only drawn here, and applied on the device, as in `TwoViews`.
    """

    def __init__(self, transforms: list[dict[str, Any]], on_device: bool = False) -> None:
        self.view = View(transforms, on_device)
        self.on_device = on_device

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        frames, num_clips = results['frames'], results.get('num_clips', 1)
        clip_len = len(frames) // num_clips
        seeds = results['rng'].integers(2**63, size=num_clips).tolist()
        made = [
            self.view.make_clip(frames[number * clip_len : (number + 1) * clip_len], seed)
            for number, seed in enumerate(seeds)
        ]
        views, boxes, augment = map(list, zip(*made, strict=True))
        added = dict(views=views, boxes=boxes)
        if self.on_device:
            added['augment'] = augment
        return {**results, **added}


@TRANSFORMS.register_module()
class ClipView(BaseTransform):
    """Makes one view of a clip, with the same random choices for all frames.

    It is for labelled clips; in pretraining, use `ClipViews`.

    **Required keys:** frames, rng. **Modified keys:** frames.

    Args:
        transforms: Transforms of each frame: they take `img` and `rng`, and change `img`.
    """

    def __init__(self, transforms: list[dict[str, Any]]) -> None:
        self.view = View(transforms)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        seed = int(results['rng'].integers(2**63))
        return {**results, 'frames': self.view.make_clip(results['frames'], seed)[0]}

    def __repr__(self) -> str:
        return f'ClipView({self.view})'
