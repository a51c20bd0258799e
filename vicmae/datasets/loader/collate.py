# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Collates samples of different shapes, such as images and clips."""

from collections.abc import Sequence
from typing import Any

from mmengine.dataset import default_collate, pseudo_collate
from mmengine.registry import FUNCTIONS


@FUNCTIONS.register_module()
def collate_by_kind(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collates samples of each shape to a batch, and several batches to the items of `vicmae.structures.Mixed`.

    Use it as `train_dataloader.collate_fn=dict(type='collate_by_kind')`. For one kind of data per step, set
    `train_dataloader.batch_sampler=dict(type='OneSourceBatches')` instead.
    """
    kinds: dict[Any, list[int]] = {}
    for position, sample in enumerate(samples):
        kinds.setdefault(kind_of(sample), []).append(position)
    batches = [_collate([samples[n] for n in positions]) for positions in kinds.values()]
    if len(batches) == 1:
        return batches[0]
    return dict(inputs=batches, positions=list(kinds.values()))


def kind_of(sample: Any) -> tuple[Any, ...]:
    """Returns the shapes of a sample's views, or of its image or clip if it is labelled."""
    inputs = sample['inputs']
    views = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    return tuple(tuple(view.shape) for view in views)


def _collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collates samples of one shape as other loaders do: labelled ones stay a list."""
    collate: Any = pseudo_collate if 'data_samples' in samples[0] else default_collate
    return collate(samples)
