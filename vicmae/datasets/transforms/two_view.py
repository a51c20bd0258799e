# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from typing import Any

from mmcv.transforms import BaseTransform

from vicmae.registry import TRANSFORMS

from .build import build_pipeline


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
        first = build_pipeline(transforms)
        self.transforms = (first, first if second is None else build_pipeline(second))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        frames = results['frames']
        sources = (frames[0], frames[-1])
        views = [
            transform(dict(img=frame, rng=rng))['img']
            for transform, frame, rng in zip(
                self.transforms, sources, results['rng'].spawn(2), strict=True
            )
        ]
        return {**results, 'views': views}

    def __repr__(self) -> str:
        return f'TwoViews({self.transforms[0]}, {self.transforms[1]})'
