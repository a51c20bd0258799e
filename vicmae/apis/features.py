# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Frozen features of a whole data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import Dataset

from vicmae.datasets.loader.steady import SteadyLoader
from vicmae.datasets.transforms.build import Pipeline
from vicmae.io.extensions import VIDEO_EXTENSIONS
from vicmae.structures import NO_LABEL, Clips


@dataclass(frozen=True)
class Features:
    """Features of the S samples of a data set, in their order.

    Attributes:
        features: (S, D)
        labels: (S,), -1 for samples without one.
        meta: Path, kind and the tags of the source of each sample.
    """

    features: Tensor
    labels: Tensor
    meta: list[dict[str, Any]]


def load_clips(
    paths: Sequence[str], size: int | tuple[int, int], *, num_frames: int = 8
) -> list[Tensor]:
    """Reads images as clips of one frame, and evenly spaced frames of videos, cropped to `size`.

    Shape:
        -> clips (T, C, size, size), uint8
    """
    ending = [dict(type='CenterCrop', size=size), dict(type='PackClip')]
    image = Pipeline([dict(type='LoadImage'), *ending])
    sampler = dict(type='UniformFrames', num_frames=num_frames)
    video = Pipeline([dict(type='OpenVideo'), sampler, dict(type='DecodeFrames'), *ending])
    clips = []
    for path in paths:
        pipeline = video if path.lower().endswith(VIDEO_EXTENSIONS) else image
        clips.append(pipeline(dict(path=path, gt_label=NO_LABEL))['inputs'])
    return clips


@torch.no_grad()
def encode_files(model: Any, paths: Sequence[str], *, num_frames: int = 8) -> Tensor:
    """Encodes images and videos, each to the mean of its frames' features.

    Args:
        model: From `load_model`.
        paths: Images and videos, distinguished by extension.
        num_frames: Evenly spaced frames of a video.

    Shape:
        -> (number of paths, D)
    """
    clips = load_clips(paths, model.backbone.img_size, num_frames=num_frames)
    batch = model.data_preprocessor(Clips(clips))
    return model.eval().extract_clip_feat(batch.inputs).float().cpu()


@torch.no_grad()
def extract_features(
    model: Any, dataset: Dataset, *, batch_size: int = 64, num_workers: int = 0
) -> Features:
    """Encodes a data set of images or videos that are packed by `PackClip`.

    The model has `data_preprocessor` and `extract_clip_feat`, as `ViCMAE` has. Files that can't be read are left out.
    """
    model.eval()
    loader = SteadyLoader(
        dataset,
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=pseudo_collate,
        replace=False,
    )
    features, labels, meta = [], [], []
    for batch in loader:
        inputs = model.data_preprocessor(batch).inputs
        features.append(model.extract_clip_feat(inputs).float().cpu())
        for sample in batch.data_samples:
            labels.append(int(sample.gt_label))
            meta.append(dict(sample.metainfo_items()))
    return Features(torch.cat(features), torch.tensor(labels), meta)
