# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A pretrained backbone as a classifier.

B batch, V views, C channels, T H W frames and pixels, N patches, D width, c classes.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmpretrain.structures import DataSample
from torch import Tensor

from vicmae.checkpoints.fit import load_backbone, require_branch
from vicmae.errors import ConfigError
from vicmae.registry import MODELS

from ..feature_model import FeatureModel
from ..parts import Part, build_part, build_preprocessor

# Views of videos, which are many times as many as samples; more are encoded one part after the other.
_CLIPS_AT_ONCE = 64


@MODELS.register_module()
class TransferClassifier(FeatureModel):
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
        over_time: Makes one vector of those of a clip's frames, where the backbone encodes images: `MeanOverTime` if
            None, or `AttentionOverTime`.
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
        over_time: Part | None = None,
        freeze_backbone: bool = False,
        data_preprocessor: Part | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        if data_preprocessor is not None:
            data_preprocessor = build_preprocessor(data_preprocessor, head)
        super().__init__(
            backbone=backbone,
            aggregator=aggregator,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        if over_time is not None:
            if self.backbone.takes_clips:
                raise ConfigError(
                    f'`over_time` joins frames that are encoded one by one, and this backbone encodes clips of '
                    f'{self.backbone.num_frames}. Set `model.over_time=None`, or `model.backbone.num_frames=1`.'
                )
            self.over_time = build_part(over_time, in_dim=self.backbone.embed_dims)
        self.head = build_part(head, in_dim=self.backbone.embed_dims)
        self.pretrained = pretrained
        self.pretrained_branch = require_branch(pretrained_branch)
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
        """Encodes images, or clips of equal length, to one vector each.

        Shape:
            (B, C, H, W) or (B, T, C, H, W) -> (B, D)
        """
        if frames.ndim == 4:
            return self._encode(frames)
        if self.backbone.takes_clips:
            return self._encode(frames.transpose(1, 2))
        of_frames = self._encode(frames.flatten(0, 1))  # (B*T, D)
        return self.over_time(of_frames.unflatten(0, frames.shape[:2]))

    def _encode(self, inputs: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_backbone):
            (tokens,) = self.backbone(inputs)  # (B, 1+N, D)
        return self.pool(tokens)

    def extract_clip_feat(self, clips: Sequence[Tensor]) -> Tensor:
        """Encodes clips, each to one vector; an image is a clip of one frame.

        Shape:
            B clips (T, C, H, W), of any T each where the backbone encodes images -> (B, D)
        """
        if self.backbone.takes_clips:
            return self.extract_feat(torch.stack(list(clips)))
        return super().extract_clip_feat(clips)

    def loss(
        self,
        inputs: Any,
        data_samples: Sequence[DataSample] | None = None,
        seeds: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compares the predicted classes of a batch with the true ones, or with shares where images were mixed."""
        return self.head.loss((self.extract_feat(inputs),), data_samples)

    def predict(
        self, inputs: Sequence[Tensor], data_samples: Sequence[DataSample]
    ) -> Sequence[DataSample]:
        """Writes `pred_score` (one share per class) and `pred_label` into each data sample.

        Of several views it is the mean of their shares; these are in `view_scores` (V, c).

        Args:
            inputs: B clips (T, C, H, W), or views of each (V, T, C, H, W); an image is a clip of one frame.
            data_samples: What is known of each.
        """
        views = [sample if sample.ndim == 5 else sample[None] for sample in inputs]
        clips = [clip for sample in views for clip in sample]
        at_once = max(_CLIPS_AT_ONCE, len(views))
        scores = [
            self.head((self.extract_clip_feat(clips[start : start + at_once]),))
            for start in range(0, len(clips), at_once)
        ]
        shares = torch.cat(scores).float().softmax(dim=1)  # (sum of all V, c)
        samples = list(data_samples) or [DataSample() for _ in views]
        for sample, own in zip(samples, shares.split([len(v) for v in views]), strict=True):
            mean = own.mean(dim=0)
            sample.set_pred_score(mean).set_pred_label(mean.argmax(dim=0, keepdim=True))
            if len(own) > 1:
                sample.set_field(own, 'view_scores')
        return samples
