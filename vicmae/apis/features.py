# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Frozen features of a whole data set."""

from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


@dataclass(frozen=True)
class Features:
    """What a model makes of a data set's samples, in their order. S samples, D width.

    Attributes:
        features: (S, D)
        labels: (S,), -1 where there is none.
        meta: What else each sample carries: path, kind, and the tags of its source.
    """

    features: Tensor
    labels: Tensor
    meta: list[dict[str, Any]]


@torch.no_grad()
def extract_features(
    model: Any, dataset: Dataset, *, batch_size: int = 64, num_workers: int = 0
) -> Features:
    """Encodes each sample of a data set that packs clips with `PackClip`.

    Args:
        model: A model with `data_preprocessor` and `extract_clip_feat`, such as `ViCMAE`.
        dataset: Images (clips of one frame) or videos.
        batch_size: Samples in a batch.
        num_workers: Processes that read.
    """
    model.eval()
    loader = DataLoader(
        dataset, batch_size=batch_size, num_workers=num_workers, collate_fn=pseudo_collate
    )
    features, labels, meta = [], [], []
    for batch in loader:
        inputs = model.data_preprocessor(batch, training=False)['inputs']
        features.append(model.extract_clip_feat(inputs).float().cpu())
        for sample in batch['data_samples']:
            labels.append(int(sample.gt_label))
            meta.append(dict(sample.metainfo_items()))
    return Features(torch.cat(features), torch.tensor(labels), meta)
