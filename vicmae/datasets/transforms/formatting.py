# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What leaves a worker: uint8 tensors, a quarter of the bytes of floats."""

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.structures import DataSample
from torch import Tensor

from vicmae.registry import TRANSFORMS


def _to_tensor(img: np.ndarray) -> Tensor:
    """(H, W, C) -> (C, H, W)."""
    return torch.from_numpy(img).permute(2, 0, 1).contiguous()


@TRANSFORMS.register_module()
class PackViews(BaseTransform):
    """Packs the views for pretraining.

    **Required keys:** views. **Result:** inputs, one (C, H, W) uint8 tensor per view.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        return dict(inputs=[_to_tensor(view) for view in results['views']])


@TRANSFORMS.register_module()
class PackClip(BaseTransform):
    """Packs the frames of a sample with its label and origin, for evaluation.

    **Required keys:** frames, gt_label, path, kind. **Result:** inputs (T, C, H, W) uint8, data_samples.

    Args:
        meta_keys: What else the data sample carries, where the sample has it.
    """

    def __init__(
        self, meta_keys: tuple[str, ...] = ('path', 'kind', 'class_name', 'probe', 'role')
    ) -> None:
        self.meta_keys = meta_keys

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        meta = {key: results[key] for key in self.meta_keys if key in results}
        sample = DataSample(metainfo=meta).set_gt_label(results['gt_label'])
        return dict(
            inputs=torch.stack([_to_tensor(frame) for frame in results['frames']]),
            data_samples=sample,
        )
