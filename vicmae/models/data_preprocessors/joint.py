# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Prepares batches for a classifier with several heads. B batch, V views, C channels, T H W frames and pixels."""

from collections.abc import Iterable, Mapping
from typing import Any

from mmpretrain.structures import DataSample

from vicmae.errors import DataError
from vicmae.registry import MODELS
from vicmae.structures import NO_LABEL, Batch, Clips, Mixed, as_batch

from .labelled import LabelledPreprocessor


@MODELS.register_module()
class JointPreprocessor(LabelledPreprocessor):
    """Prepares labelled images and clips of several data sets, each for its head of a `SupervisedJoint`.

    In training, each sample gets `head`, the name of its head, or None if it has no label. Mixup and cutmix mix samples
    of one head and shape. The order of a batch is kept; of a `Mixed` one, one kind follows the other.

    Args:
        num_classes: Number of classes of each head, by name. The model fills it in from its heads.
        kwargs: Further arguments of `LabelledPreprocessor`: `mixup_alpha`, `cutmix_alpha`, `mean`, `std`.

    Shape:
        training: B images (C, H, W) or clips (T, C, H, W) uint8, in any mixture -> the same as float
        evaluation: B clips (T, C, H, W), or (V, T, C, H, W), uint8 -> the same as float
    """

    def __init__(self, *, num_classes: Mapping[str, int], **kwargs: Any) -> None:
        super().__init__(num_classes=dict(num_classes), **kwargs)

    def forward(self, data: Mapping[str, Any], training: bool = False) -> Batch:
        """Prepares a batch from the loader, also one that was collated by kind."""
        batch = as_batch(data)
        if isinstance(batch, Mixed):
            batches: list[Any] = batch.batches
            samples = [sample for one in batches for sample in one.data_samples]
            batch = Clips([x for one in batches for x in one.inputs], data_samples=samples)
        return self.prepare(batch, training)

    def prepare(self, data: Mapping[str, Any], training: bool) -> Batch:
        """Normalises the pixels. In training it also chooses the heads, and mixes samples of one head and shape."""
        if not training:
            return super().prepare(data, training)
        batch = self.take(data, training)
        inputs, samples = list(batch.inputs), batch.data_samples
        heads = [self._choose_head(sample) for sample in samples]
        groups: dict[Any, list[int]] = {}
        for row, (head, pixels) in enumerate(zip(heads, inputs, strict=True)):
            groups.setdefault((head, pixels.shape), []).append(row)
        for (head, _), rows in groups.items():
            part = self.stack_and_mix(
                [inputs[row] for row in rows],
                [samples[row] for row in rows],
                None if head is None else self.num_classes[head],
            )
            for row, pixels in zip(rows, part, strict=True):
                inputs[row] = pixels
        return batch.replace(inputs=inputs)

    def _choose_head(self, sample: DataSample) -> str | None:
        """Writes the head of a sample, and checks its label while that is on the host."""
        label = int(sample.gt_label)
        head = None if label == NO_LABEL else head_of(sample, self.num_classes)
        if head is not None and not 0 <= label < self.num_classes[head]:
            raise DataError(
                f'The label of {sample.get("path")!r} is {label}, but the head {head!r} has '
                f'{self.num_classes[head]} classes, from 0 on. Set `model.heads.{head}.num_classes`, or correct the '
                'label.'
            )
        sample.set_metainfo(dict(head=head))
        return head


def head_of(sample: Any, heads: Iterable[str]) -> str:
    """Returns the head that classifies a sample: the tag `head` of its source, or the name of the source."""
    head, names = sample.get('head') or sample.get('source'), tuple(heads)
    if head not in names:
        raise DataError(
            f'{sample.get("path")!r} is of the source {sample.get("source")!r}, with the head {head!r}, but the model '
            f'has the heads {", ".join(names)}. Name the source in MixedDataset as its head, or give it '
            f"`tags=dict(head='{names[0]}')`."
        )
    return head
