# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Runs transforms of mmpretrain, seeded by the sample. H W pixels."""

from typing import Any

import cv2
from mmcv.transforms import BaseTransform, Compose
from mmengine.registry import DefaultScope
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN_TRANSFORMS

from vicmae.registry import TRANSFORMS
from vicmae.utils.numpy_seed import seeded_numpy


@TRANSFORMS.register_module()
class MMPretrainAugment(BaseTransform):
    """Runs mmpretrain's transforms, such as RandAugment and RandomErasing, on a view.

    They use NumPy's global random state, which is seeded from the sample's `rng` and restored afterwards. They get the
    channels in the order blue, green, red, also for fill colours.

    **Required keys:** img (H, W, 3), uint8, RGB; rng. **Modified keys:** img.

    Args:
        transforms: Configs of transforms, such as `dict(type='mmpretrain.RandAugment', ...)`.
    """

    def __init__(self, transforms: list[dict[str, Any]]) -> None:
        # RandAugment looks up its parts in the default scope.
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            self.transforms = Compose([MMPRETRAIN_TRANSFORMS.build(dict(t)) for t in transforms])

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        with seeded_numpy(int(results['rng'].integers(2**32))):
            changed = self.transforms(dict(img=cv2.cvtColor(results['img'], cv2.COLOR_RGB2BGR)))
        return {**results, 'img': cv2.cvtColor(changed['img'], cv2.COLOR_BGR2RGB)}

    def __repr__(self) -> str:
        return f'MMPretrainAugment({self.transforms.transforms})'
