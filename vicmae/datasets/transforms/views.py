# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""From the frames of a sample to the views that a model is shown. H W pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from vicmae.registry import TRANSFORMS

from .build import Pipeline


@TRANSFORMS.register_module()
class OneView(BaseTransform):
    """One view of a sample, for methods that compare none, such as MAE: of its first frame.

    It is the first of the views that `TwoViews` would give. For videos, `SameFramePair` decodes no frame in vain.

    **Required keys:** frames, rng. **Added keys:** views (one, (H, W, 3), uint8).

    Args:
        transforms: What happens to the view: takes `img` and `rng`, changes `img`.
    """

    def __init__(self, transforms: list[dict[str, Any]]) -> None:
        self.transforms = Pipeline(transforms)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        return _add_views(results, results['frames'][:1], [self.transforms])

    def __repr__(self) -> str:
        return f'OneView({self.transforms})'


@TRANSFORMS.register_module()
class TwoViews(BaseTransform):
    """Two views of a sample: of its two frames, or twice of its only one.

    Each view has random choices of its own, which follow from the sample's.

    **Required keys:** frames, rng. **Added keys:** views (each (H, W, 3), uint8).

    Args:
        transforms: What happens to a view: takes `img` and `rng`, changes `img`.
        second: What happens to the second view, where that differs.
    """

    def __init__(
        self, transforms: list[dict[str, Any]], second: list[dict[str, Any]] | None = None
    ) -> None:
        first = Pipeline(transforms)
        self.transforms = (first, first if second is None else Pipeline(second))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        frames = results['frames']
        return _add_views(results, [frames[0], frames[-1]], self.transforms)

    def __repr__(self) -> str:
        return f'TwoViews({self.transforms[0]}, {self.transforms[1]})'


def _add_views(
    results: dict[str, Any], frames: Sequence[np.ndarray], transforms: Sequence[Pipeline]
) -> dict[str, Any]:
    """Makes a view of each frame, with a generator of its own."""
    rngs = results['rng'].spawn(len(frames))
    views = [
        transform(dict(img=frame, rng=rng))['img']
        for transform, frame, rng in zip(transforms, frames, rngs, strict=True)
    ]
    return {**results, 'views': views}
