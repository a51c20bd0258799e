# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Classifies images and videos with a pretrained backbone. B batch, D width, c classes."""

from collections.abc import Sequence
from typing import Any

from mmpretrain.structures import DataSample
from torch import Tensor

from vicmae.registry import MODELS

from ..feature_model import DataSamples
from ..parts import Part, build_part, build_preprocessor
from .base import BaseClassifier


@MODELS.register_module()
class TransferClassifier(BaseClassifier):
    """Classifies by a backbone, a pooling and a linear layer: fine-tuned or, with a frozen backbone, as a probe.

    A linear probe has `freeze_backbone` and an aggregator without parameters; an attentive probe has
    `AttentionPooling`. The configs use the mean of the patch tokens, as ViC-MAE does in training. The official code
    classifies from the class token (`ClsPooling`), although no loss trains it.

    Args:
        head: Classifies the pooled vector, a `TransferHead`.
        data_preprocessor: A `LabelledPreprocessor`. It gets the number of classes from the head, for mixup and cutmix.
        model: Arguments of `BaseClassifier`.

    Example:
        >>> import torch
        >>> from vicmae.apis import load_config
        >>> path = 'configs/vicmae/benchmarks/vicmae_vit-tiny-p8_finetune_debug.py'
        >>> model = MODELS.build(load_config(path).model)
        >>> model.eval().extract_feat(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 64])
    """

    def __init__(self, *, head: Part, data_preprocessor: Part | None = None, **model: Any) -> None:
        if data_preprocessor is not None:
            data_preprocessor = build_preprocessor(data_preprocessor, head)
        super().__init__(data_preprocessor=data_preprocessor, **model)
        self.head = build_part(head, in_dim=self.backbone.embed_dims)

    def loss(
        self, inputs: Any, data_samples: DataSamples = None, seeds: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Computes the loss of predicted classes and labels, or the class shares of mixed images."""
        return self.head.loss((self.extract_feat(inputs),), data_samples)

    def scores_of(self, features: Tensor, samples: Sequence[DataSample]) -> list[Tensor]:
        return list(self.head((features,)))
