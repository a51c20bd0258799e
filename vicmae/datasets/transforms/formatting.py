# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Packs samples as uint8 tensors, which take a quarter of the memory of floats."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.structures import DataSample
from torch import Tensor

from vicmae.registry import TRANSFORMS
from vicmae.structures import as_vector


def _to_tensor(img: np.ndarray) -> Tensor:
    """Converts an image to a tensor: (H, W, C) -> (C, H, W)."""
    return _clip_to_tensor([img])[:, 0]


def _clip_to_tensor(frames: Sequence[np.ndarray]) -> Tensor:
    """Converts frames to a tensor: T times (H, W, C) -> (C, T, H, W)."""
    height, width, channels = frames[0].shape
    planes = np.empty((channels, len(frames), height, width), np.uint8)
    for time, frame in enumerate(frames):
        cv2.split(frame, list(planes[:, time]))  # five times as fast as torch's `contiguous`
    return torch.from_numpy(planes)


@TRANSFORMS.register_module()
class PackViews(BaseTransform):
    """Packs views of images or clips for pretraining, with the augmentations that the device applies.

    **Required keys:** views, rng. **Optional keys:** augment; with `with_times` also frame_ids, fps and num_clips.
    **Result:** inputs, one uint8 tensor per view, (C, H, W) or, of a clip, (C, T, H, W); augment, one float32 vector
    per view, with the values of `vicmae.structures.FIELDS`; seeds, the int64 seed of the sample's masks; with
    `with_times` also times, one float32 per view.

    Args:
        with_times: Whether to add the time of each view in seconds, for `TimedPredictor` and `FrameOrderLoss`: that of
            its frame or of the middle of its clip, at the average frame rate of the video. It is 0 for images.
    """

    def __init__(self, with_times: bool = False) -> None:
        self.with_times = with_times

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        views = results['views']
        # Always present, so that a batch may mix samples with and without it.
        augment = results.get('augment', [as_vector({})] * len(views))
        packed = dict(
            inputs=[
                _to_tensor(v) if isinstance(v, np.ndarray) else _clip_to_tensor(v) for v in views
            ],
            augment=[torch.from_numpy(numbers) for numbers in augment],
            seeds=int(results['rng'].integers(2**63)),
        )
        if self.with_times:
            packed['times'] = list(_view_times(results))
        return packed


def _view_times(results: dict[str, Any]) -> Tensor:
    """Returns the time in seconds of each view of a pair of frames, or of clips: (V,)."""
    num_views = len(results['views'])
    if 'frame_ids' not in results:
        return torch.zeros(num_views)
    shows_frames = isinstance(results['views'][0], np.ndarray)
    num_shown = len(results['frame_ids']) if shows_frames else results.get('num_clips', 1)
    ids = np.reshape(results['frame_ids'], (num_shown, -1))
    middles = (ids[:, 0] + ids[:, -1]) / 2 / results['fps']
    # As `TwoViews` does: the first and the last frame, or one frame twice. Clips have one view each.
    shown = np.linspace(0, num_shown - 1, num_views).astype(int)
    return torch.tensor(middles[shown], dtype=torch.float32)


@TRANSFORMS.register_module()
class PackImage(BaseTransform):
    """Packs the view of a labelled image, for training a classifier.

    **Required keys:** views, gt_label, path. **Optional keys:** source, head. **Result:** inputs (C, H, W) uint8,
    data_samples.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        meta = {key: results[key] for key in ('path', 'source', 'head') if key in results}
        sample = DataSample(metainfo=meta).set_gt_label(results['gt_label'])
        return dict(inputs=_to_tensor(results['views'][0]), data_samples=sample)


@TRANSFORMS.register_module()
class PackClip(BaseTransform):
    """Packs the frames of a sample with its label and origin, for evaluation and for training on clips.

    **Required keys:** frames, gt_label, path, kind. **Optional keys:** num_clips and num_crops, whose product is the
    number of views; sample_idx, with which metrics count each sample only once. **Result:** inputs (T, C, H, W) uint8,
    of several views (V, T, C, H, W); data_samples.

    Args:
        meta_keys: Further keys that are copied to the data sample, if the sample has them.
    """

    def __init__(
        self,
        meta_keys: tuple[str, ...] = (
            *('path', 'kind', 'class_name'),
            *('source', 'probe', 'role', 'head'),
        ),
    ) -> None:
        self.meta_keys = meta_keys

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        keys = (*self.meta_keys, 'sample_idx')
        meta = {key: results[key] for key in keys if key in results}
        sample = DataSample(metainfo=meta).set_gt_label(results['gt_label'])
        inputs = torch.stack([_to_tensor(frame) for frame in results['frames']])
        num_views = results.get('num_clips', 1) * results.get('num_crops', 1)
        if num_views > 1:
            inputs = inputs.unflatten(0, (num_views, -1))
        return dict(inputs=inputs, data_samples=sample)
