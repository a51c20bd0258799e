# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Classifies images and videos with a pretrained backbone.

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

from ..feature_model import DataSamples, FeatureModel
from ..parts import Part, build_part, build_preprocessor

# A video has many views, so that they are encoded in parts of this size.
_CLIPS_AT_ONCE = 64


@MODELS.register_module()
class TransferClassifier(FeatureModel):
    """Classifies by a backbone, a pooling and a linear layer: fine-tuned or, with a frozen backbone, as a probe.

    A linear probe has `freeze_backbone` and an aggregator without parameters; an attentive probe has
    `AttentionPooling`. The configs use the mean of the patch tokens, as ViC-MAE does in training. The official code
    classifies from the class token (`ClsPooling`), although no loss trains it.

    Args:
        head: Classifies the pooled vector, a `TransferHead`.
        data_preprocessor: A `LabelledPreprocessor`. It gets the number of classes from the head, for mixup and cutmix.
        pretrained: Path or URL of a checkpoint with the backbone: of pretraining, a converted official one, or of
            mmpretrain's `VisionTransformer`. None for random weights.
        pretrained_branch: Weights to load: 'student', or 'teacher' for the EMA weights of an `EMATarget`.
        over_time: Pools the features of a clip's frames, for a backbone of images: `AttentionOverTime`, or None for
            `MeanOverTime`.
        freeze_backbone: Whether the backbone is not trained: it stays in evaluation mode and gets no gradients.
        model: Arguments of `FeatureModel`.

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
        head: Part,
        pretrained: str | None = None,
        pretrained_branch: str = 'student',
        over_time: Part | None = None,
        freeze_backbone: bool = False,
        data_preprocessor: Part | None = None,
        **model: Any,
    ) -> None:
        if data_preprocessor is not None:
            data_preprocessor = build_preprocessor(data_preprocessor, head)
        super().__init__(data_preprocessor=data_preprocessor, **model)
        if over_time is not None:
            if self.backbone.takes_clips:
                raise ConfigError(
                    f'`over_time` pools frames that are encoded one by one, but this backbone encodes clips of '
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
        """Sets the training mode, except for a frozen backbone."""
        super().train(mode)
        if self.freeze_backbone:
            self.backbone.eval()
        return self

    def init_weights(self) -> None:
        """Initialises all weights, then loads those of the backbone from `pretrained`."""
        super().init_weights()
        if self.pretrained is not None:
            load_backbone(self.backbone, self.pretrained, branch=self.pretrained_branch)
        else:
            print_log(
                'The backbone starts from random weights. `--cfg-options model.pretrained=CHECKPOINT` gives it '
                'pretrained ones.',
                'current',
                logging.WARNING,
            )

    def extract_feat(self, frames: Tensor) -> Tensor:
        """Encodes images, or clips of one length, to one vector each: (B, C, H, W) or (B, T, C, H, W) -> (B, D)."""
        if frames.ndim == 4:
            return self._encode(frames)
        if self.backbone.takes_clips:
            return self._encode(frames.transpose(1, 2))
        features = self._encode(frames.flatten(0, 1))  # (B*T, D)
        return self.over_time(features.unflatten(0, frames.shape[:2]))

    def _encode(self, inputs: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_backbone):
            (tokens,) = self.backbone(inputs)  # (B, 1+N, D)
        return self.pool(tokens)

    def extract_clip_feat(self, clips: Sequence[Tensor]) -> Tensor:
        if self.backbone.takes_clips:
            return self.extract_feat(torch.stack(list(clips)))
        return super().extract_clip_feat(clips)

    def loss(
        self, inputs: Any, data_samples: DataSamples = None, seeds: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Computes the loss of predicted classes and labels, or the class shares of mixed images."""
        return self.head.loss((self.extract_feat(inputs),), data_samples)

    def predict(
        self, inputs: Sequence[Tensor], data_samples: Sequence[DataSample]
    ) -> Sequence[DataSample]:
        """Writes `pred_score` (a probability per class) and `pred_label` into each data sample.

        These are the mean over the views of a sample. `view_scores` (V, c) has the scores of each view. An input is a
        clip (T, C, H, W) or the views of one, (V, T, C, H, W). An image is a clip of one frame.
        """
        views = [sample if sample.ndim == 5 else sample[None] for sample in inputs]
        clips = [clip for sample in views for clip in sample]
        part_size = max(_CLIPS_AT_ONCE, len(views))
        logits = [
            self.head((self.extract_clip_feat(clips[start : start + part_size]),))
            for start in range(0, len(clips), part_size)
        ]
        scores = torch.cat(logits).float().softmax(dim=1)  # (sum of all V, c)
        samples = list(data_samples) or [DataSample() for _ in views]
        for sample, of_views in zip(samples, scores.split([len(v) for v in views]), strict=True):
            mean = of_views.mean(dim=0)
            sample.set_pred_score(mean).set_pred_label(mean.argmax(dim=0, keepdim=True))
            if len(of_views) > 1:
                sample.set_field(of_views, 'view_scores')
        return samples
