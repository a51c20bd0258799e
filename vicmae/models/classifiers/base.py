# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The base of classifiers of images and videos.

B batch, V views, C channels, T H W frames and pixels, N patches, D width, c classes.
"""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmpretrain.structures import DataSample
from torch import Tensor

from vicmae.checkpoints.fit import load_backbone, require_branch
from vicmae.errors import ConfigError

from ..feature_model import FeatureModel, encode_by_shape
from ..parts import Part, build_part

# A video has many views, so that they are encoded in parts of this size.
_CLIPS_AT_ONCE = 64


class BaseClassifier(FeatureModel):
    """A backbone, pretrained or not, whose pooled features are classified.

    Args:
        pretrained: Path or URL of a checkpoint with the backbone: of pretraining, a converted official one, or of
            mmpretrain's `VisionTransformer`. None for random weights.
        pretrained_branch: Weights to load: 'student', or 'teacher' for the EMA weights of an `EMATarget` or a
            `LatentPredictionLoss`.
        over_time: Pools the features of a clip's frames, for a backbone of images: `AttentionOverTime`, or None for
            `MeanOverTime`.
        freeze_backbone: Whether the backbone is not trained: it stays in evaluation mode and gets no gradients.
        model: Arguments of `FeatureModel`.
    """

    required_hook = 'ClassFitHook'

    def __init__(
        self,
        *,
        pretrained: str | None = None,
        pretrained_branch: str = 'student',
        over_time: Part | None = None,
        freeze_backbone: bool = False,
        **model: Any,
    ) -> None:
        super().__init__(**model)
        if over_time is not None:
            if self.backbone.takes_clips:
                raise ConfigError(
                    f'`over_time` pools frames that are encoded one by one, but this backbone encodes clips of '
                    f'{self.backbone.num_frames}. Set `model.over_time=None`, or `model.backbone.num_frames=1`.'
                )
            self.over_time = build_part(over_time, in_dim=self.backbone.embed_dims)
        self.pretrained = pretrained
        self.pretrained_branch = require_branch(pretrained_branch)
        self.freeze_backbone = freeze_backbone
        if freeze_backbone:
            self.backbone.requires_grad_(False)
        self.train()

    @abstractmethod
    def scores_of(self, features: Tensor, samples: Sequence[DataSample]) -> list[Tensor]:
        """Returns the scores (c,) of each feature (B, D), before the softmax. `samples` are the B that they are of."""

    def train(self, mode: bool = True) -> 'BaseClassifier':
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
            return encode_by_shape(self.extract_feat, clips)
        return super().extract_clip_feat(clips)

    def predict(
        self, inputs: Sequence[Tensor], data_samples: Sequence[DataSample]
    ) -> Sequence[DataSample]:
        """Writes `pred_score` (a probability per class) and `pred_label` into each data sample.

        These are the mean over the views of a sample. `view_scores` (V, c) has the scores of each view. An input is a
        clip (T, C, H, W) or the views of one, (V, T, C, H, W). An image is a clip of one frame.
        """
        views = [sample if sample.ndim == 5 else sample[None] for sample in inputs]
        samples = list(data_samples) or [DataSample() for _ in views]
        clips = [clip for sample_views in views for clip in sample_views]
        samples_of_clips = [s for s, v in zip(samples, views, strict=True) for _ in v]
        part_size = max(_CLIPS_AT_ONCE, len(views))
        scores: list[Tensor] = []  # (c,) of each clip
        for start in range(0, len(clips), part_size):
            part = slice(start, start + part_size)
            features = self.extract_clip_feat(clips[part])
            scores += self.scores_of(features, samples_of_clips[part])
        for sample, sample_views in zip(samples, views, strict=True):
            view_scores = torch.stack(scores[: len(sample_views)]).float().softmax(dim=1)  # (V, c)
            del scores[: len(sample_views)]
            mean = view_scores.mean(dim=0)
            sample.set_pred_score(mean).set_pred_label(mean.argmax(dim=0, keepdim=True))
            if len(view_scores) > 1:
                sample.set_field(view_scores, 'view_scores')
        return samples
