# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Trains one backbone on several labelled data sets, of images and of videos.

B batch, C channels, T H W frames and pixels, D width, c classes, W ranks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vicmae.errors import ConfigError
from vicmae.registry import MODELS
from vicmae.utils.distributed import rank_and_world_size, sum_over_ranks

from ..data_preprocessors.joint import head_of
from ..feature_model import DataSamples
from ..parts import Part, build_part, build_preprocessor
from .base import BaseClassifier


@MODELS.register_module()
class SupervisedJoint(BaseClassifier):
    """Trains one backbone on labelled images and clips, with one head per data set.

    Use it where one model has to classify images and videos, as Omnivore (https://arxiv.org/abs/2201.08377) and TubeViT
    (https://arxiv.org/abs/2212.03229) do. A batch may hold images, clips or both: each sample trains the head that is
    named as its source in `MixedDataset`, or by `tags=dict(head=...)` of the source. The loss is the mean of the
    weighted losses of all labelled samples, of all ranks: it doesn't depend on their order, nor on which rank has them.
    With gradient accumulation, each small batch counts the same. Samples without a label are left out.

    Args:
        heads: Parts that classify the pooled vector, by name: a `TransferHead` for each data set, or None for none. A
            batch norm is refused, as a step may have no sample of a head.
        loss_weights: Weight of the loss of each head, by name. Others have 1.
        data_preprocessor: A `JointPreprocessor`. It gets the numbers of classes from the heads.
        model: Arguments of `BaseClassifier`.

    Example:
        >>> from vicmae.apis import load_model
        >>> model = load_model('supervised-joint_vit-tiny-p8_debug')
        >>> image, clip = torch.rand(1, 3, 64, 64), torch.rand(4, 3, 64, 64)
        >>> model.extract_clip_feat([image, clip]).shape
        torch.Size([2, 64])
    """

    def __init__(
        self,
        *,
        heads: Mapping[str, Part | None],
        loss_weights: Mapping[str, float] | None = None,
        data_preprocessor: Part | None = None,
        **model: Any,
    ) -> None:
        parts = {name: head for name, head in heads.items() if head is not None}
        if not parts:
            raise ConfigError(
                'SupervisedJoint needs a head for each data set, got none. Set `model.heads.NAME=dict('
                "type='TransferHead', num_classes=...)`, where NAME is that of the source."
            )
        if data_preprocessor is not None:
            data_preprocessor = build_preprocessor(data_preprocessor, parts)
        super().__init__(data_preprocessor=data_preprocessor, **model)
        width = self.backbone.embed_dims
        self.heads = nn.ModuleDict({n: build_part(h, in_dim=width) for n, h in parts.items()})
        for name, head in self.heads.items():
            if any(isinstance(module, _BatchNorm) for module in head.modules()):
                raise ConfigError(
                    f'The head {name!r} has a batch norm, but a step may have no sample of it. Set '
                    f"`model.heads.{name}.norm='LN'` or None."
                )
        self.loss_weights = self._read_weights(loss_weights or {})

    def loss(
        self, inputs: Any, data_samples: DataSamples = None, seeds: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Computes the loss and the accuracy in percent of each head, whose samples have its name as `head`.

        All heads take part in each step: those without a sample get a gradient of zero.

        Shape:
            B images (C, H, W) or clips (T, C, H, W) -> ()
        """
        samples = list(data_samples or [])
        clips = [pixels if pixels.ndim == 4 else pixels[None] for pixels in inputs]
        features = self.extract_clip_feat(clips)  # (B, D)
        num_labelled = _count_per_rank(samples, features.device)
        losses: dict[str, Tensor] = {}
        for name, head in self.heads.items():
            rows = [row for row, sample in enumerate(samples) if sample.get('head') == name]
            scores = head((features[torch.tensor(rows, dtype=torch.long)],))  # (B of this head, c)
            if not rows:
                losses[f'loss_{name}'] = scores.sum()  # 0, with gradients of 0
                continue
            targets = _targets([samples[row] for row in rows])
            loss: Any = head.loss_module  # a sum over samples, divided by `avg_factor`
            own_loss = loss(scores, targets, avg_factor=num_labelled)
            losses[f'loss_{name}'] = self.loss_weights[name] * own_loss
            losses[f'accuracy_{name}'] = _accuracy(scores, targets)
        return losses

    def scores_of(self, features: Tensor, samples: Sequence[DataSample]) -> list[Tensor]:
        scores: list[Any] = [None] * len(samples)
        heads = [head_of(sample, self.heads) for sample in samples]
        for name in dict.fromkeys(heads):
            rows = [row for row, head in enumerate(heads) if head == name]
            for row, row_scores in zip(rows, self.heads[name]((features[rows],)), strict=True):
                samples[row].set_metainfo(dict(head=name))
                scores[row] = row_scores
        return scores

    def _read_weights(self, loss_weights: Mapping[str, float]) -> dict[str, float]:
        unknown = [name for name in loss_weights if name not in self.heads]
        if unknown or any(weight < 0 for weight in loss_weights.values()):
            raise ConfigError(
                f'`model.loss_weights` must name heads ({", ".join(self.heads)}), each with a weight of at least 0, '
                f'got {dict(loss_weights)}.'
            )
        return {name: float(loss_weights.get(name, 1.0)) for name in self.heads}


def _count_per_rank(samples: Sequence[DataSample], device: torch.device) -> Tensor:
    """Counts the labelled samples of all ranks, and divides by the number of ranks, as gradients are averaged."""
    own = sum(sample.get('head') is not None for sample in samples)
    count = sum_over_ranks(torch.full((), float(own), device=device))
    return count.clamp(min=1.0) / rank_and_world_size()[1]


def _targets(samples: Sequence[DataSample]) -> Tensor:
    """Returns labels (B,), or class shares (B, c) of mixed samples."""
    if 'gt_score' in samples[0]:
        return torch.stack([sample.gt_score for sample in samples])
    return torch.cat([sample.gt_label for sample in samples])


def _accuracy(scores: Tensor, targets: Tensor) -> Tensor:
    """Compares the class of the highest score with the label, or with the larger share of a mixed sample."""
    labels = targets if targets.ndim == 1 else targets.argmax(dim=1)
    return 100 * (scores.argmax(dim=1) == labels).float().mean()
