# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""From the frames of a sample to the views that a model is shown."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from vicmae.io.image import EncodedImage
from vicmae.registry import TRANSFORMS

from .crop import Box
from .view import Frame, View, scale_box

Decode = Callable[[EncodedImage, int], np.ndarray]


class _Views(BaseTransform):
    """Makes views of a sample, each with random choices of its own, which follow from the sample's.

    Images that aren't decoded yet are so at the largest reduction at which each view of them still gets as many
    pixels as it has.

    Args:
        views: How each is made.
        on_device: Whether what the device can do is only drawn here, and carried out there.
    """

    def __init__(self, views: Sequence[Sequence[Any]], on_device: bool) -> None:
        self.views = [View(transforms, on_device) for transforms in views]
        self.on_device = on_device

    def choose(self, frames: list[Frame]) -> list[Frame]:
        """The frame of each view."""
        raise NotImplementedError  # each subclass has its own

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        return self.transform_together([results])[0]

    def transform_together(self, visits: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Makes the views of all visits to a file, which is decoded once for each reduction."""
        decode = cache(lambda image, reduction: image.decode(reduction))
        return [self._add_views(visit, decode) for visit in visits]

    def _add_views(self, results: dict[str, Any], decode: Decode) -> dict[str, Any]:
        frames = self.choose(results['frames'])
        seeds = results['rng'].integers(2**63, size=len(frames)).tolist()  # faster than `spawn`
        rngs = [np.random.default_rng(seed) for seed in seeds]
        boxes = [
            v.draw_box(frame, rng) for v, frame, rng in zip(self.views, frames, rngs, strict=True)
        ]
        looks = self._decode(frames, boxes, decode)
        made = [v.make(*look, rng) for v, look, rng in zip(self.views, looks, rngs, strict=True)]
        added = dict(views=[view for view, _ in made], boxes=boxes)
        if self.on_device:
            added['augment'] = [numbers for _, numbers in made]
        return {**results, **added}

    def _decode(
        self, frames: list[Frame], boxes: list[Box], decode: Decode
    ) -> Iterator[tuple[np.ndarray, Box]]:
        """Yields the pixels of each frame, and where the view's box is in them."""
        reductions = [view.reduction(box) for view, box in zip(self.views, boxes, strict=True)]
        for frame, box in zip(frames, boxes, strict=True):
            if isinstance(frame, EncodedImage):
                shared = [r for r, other in zip(reductions, frames, strict=True) if other is frame]
                pixels = decode(frame, min(shared))
                yield pixels, scale_box(box, round(frame.height / len(pixels)))
            else:
                yield frame, box

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.views}, on_device={self.on_device})'


@TRANSFORMS.register_module()
class OneView(_Views):
    """One view of a sample, for methods that compare none, such as MAE: of its first frame.

    It is the first of the views that `TwoViews` would give. For videos, `SameFramePair` decodes no frame in vain.

    **Required keys:** frames, rng. **Added keys:** views (one, (H, W, 3), uint8), boxes; with `on_device` also augment.

    Args:
        transforms: What happens to the view: takes `img` and `rng`, changes `img`.
        on_device: As in `TwoViews`.
    """

    def __init__(self, transforms: list[dict[str, Any]], on_device: bool = False) -> None:
        super().__init__([transforms], on_device)

    def choose(self, frames: list[Frame]) -> list[Frame]:
        return frames[:1]


@TRANSFORMS.register_module()
class TwoViews(_Views):
    """Two views of a sample: of its two frames, or twice of its only one.

    Each view has random choices of its own, which follow from the sample's.

    **Required keys:** frames, rng. **Added keys:** views (each (H, W, 3), uint8), boxes (each (top, left, height,
    width) of its frame); with `on_device` also augment (each float32, the numbers of `vicmae.structures.FIELDS`).

    Args:
        transforms: What happens to a view: takes `img` and `rng`, changes `img`.
        second: What happens to the second view, where that differs.
        on_device: Whether flips and changes of colour are only drawn here. `ViewPreprocessor` carries them
            out, whole batches at a time, where the model is: the same views to rounding, for a fraction of the
            worker's time. What is put behind the first of them has to be such a change, too.
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
class ClipView(BaseTransform):
    """One view of a clip: random choices are made once, and are those of each of its frames.

    **Required keys:** frames, rng. **Modified keys:** frames.

    Args:
        transforms: What happens to each frame: takes `img` and `rng`, changes `img`.
    """

    def __init__(self, transforms: list[dict[str, Any]]) -> None:
        self.view = View(transforms)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        seed = int(results['rng'].integers(2**63))
        return {**results, 'frames': [self._make(frame, seed) for frame in results['frames']]}

    def _make(self, frame: np.ndarray, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return self.view.make(frame, self.view.draw_box(frame, rng), rng)[0]

    def __repr__(self) -> str:
        return f'ClipView({self.view})'
