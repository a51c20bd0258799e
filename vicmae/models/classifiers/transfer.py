# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A pretrained backbone as a classifier. B batch, C channels, T H W frames and pixels, N patches, D width."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmpretrain.structures import DataSample
from torch import Tensor

from vicmae.registry import MODELS

from ..algorithms.base import BasePretrainer, Part, build_part
from .pretrained import BRANCHES, load_backbone


@MODELS.register_module()
class TransferClassifier(BasePretrainer):
    """Backbone, pooling and a linear layer: fine-tuned as a whole, or with the backbone frozen, as a probe.

    Linear probe: `freeze_backbone` and an aggregator without parameters. Attentive probe: the same with
    `AttentionPooling`. The mean over patch tokens is the default of the configs, as it is what ViC-MAE contrasts; its
    official code classifies from the class token (`ClsPooling`), which no loss has trained.

    Args:
        backbone: Encodes images; never masked here.
        aggregator: Pools tokens to one vector.
        head: Classifies that vector.
        pretrained: Checkpoint that the backbone begins from: of pretraining here, a converted official one, or
            mmpretrain's `VisionTransformer`. None for random weights.
        pretrained_branch: 'student', or 'teacher' for the averaged weights of an `EMATarget`.
        freeze_backbone: Whether the backbone stays as it is: in evaluation mode, without gradients.
        data_preprocessor: Brings pixels to the device, normalises and mixes them.
        init_cfg: MMEngine's initialisation.

    Example:
        >>> from vicmae.apis import load_config
        >>> path = 'configs/vicmae/benchmarks/vicmae_vit-tiny-p8_finetune_debug.py'
        >>> model = MODELS.build(load_config(path).model)
        >>> model.eval().extract_feat(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 64])
    """

    required_hook = 'ClassFitHook'

    def __init__(
        self,
        *,
        backbone: Part,
        aggregator: Part,
        head: Part,
        pretrained: str | None = None,
        pretrained_branch: str = 'student',
        freeze_backbone: bool = False,
        data_preprocessor: Part | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        if pretrained_branch not in BRANCHES:
            raise ValueError(
                f"`pretrained_branch` must be one of {', '.join(BRANCHES)}, got '{pretrained_branch}'."
            )
        if data_preprocessor is not None:
            classes = head.get('num_classes') if isinstance(head, Mapping) else head.num_classes
            data_preprocessor = build_part(data_preprocessor, num_classes=classes)
        super().__init__(
            backbone=backbone,
            aggregator=aggregator,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.head = build_part(head, in_dim=self.backbone.embed_dims)
        self.pretrained = pretrained
        self.pretrained_branch = pretrained_branch
        self.freeze_backbone = freeze_backbone
        if freeze_backbone:
            self.backbone.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> 'TransferClassifier':
        """Switches to training, a frozen backbone left out."""
        super().train(mode)
        if self.freeze_backbone:
            self.backbone.eval()
        return self

    def init_weights(self) -> None:
        """Draws all weights anew, then loads those of the backbone that `pretrained` names."""
        super().init_weights()
        if self.pretrained is not None:
            load_backbone(self.backbone, self.pretrained, branch=self.pretrained_branch)
        else:
            print_log(
                'The backbone begins from random weights. `--cfg-options model.pretrained=CHECKPOINT` gives it '
                'pretrained ones.',
                'current',
                logging.WARNING,
            )

    def extract_feat(self, frames: Tensor) -> Tensor:
        """Encodes images to one vector each.

        Shape:
            (B, C, H, W) -> (B, D)
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_backbone):
            (tokens,) = self.backbone(frames)  # (B, 1+N, D)
        return self.pool(tokens)

    def loss(
        self,
        inputs: Any,
        data_samples: Sequence[DataSample] | None = None,
        seeds: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compares the predicted classes of a batch with the true ones.

        Args:
            inputs: Normalised images (B, C, H, W).
            data_samples: Their labels, or shares of classes where images were mixed.
            seeds: Not used: nothing is masked.
        """
        return self.head.loss((self.extract_feat(inputs),), data_samples)

    def predict(
        self, inputs: Sequence[Tensor], data_samples: Sequence[DataSample]
    ) -> Sequence[DataSample]:
        """Writes `pred_score` (one share per class) and `pred_label` into each data sample.

        Args:
            inputs: B clips (T, C, H, W); an image is a clip of one frame.
            data_samples: What is known of each.
        """
        return self.head.predict((self.extract_clip_feat(inputs),), list(data_samples) or None)
