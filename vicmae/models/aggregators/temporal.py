# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Pools the features of a clip's frames to one vector, for image models. B batch, T frames, D width.

Of these, only `StatisticsOverTime` uses the order of the frames, as does a backbone with `num_frames` above 1.
"""

import torch
from torch import Tensor, nn

from vicmae.registry import MODELS

from .attention import QueryAttention


@MODELS.register_module()
class MeanOverTime(nn.Module):
    """Averages the features of frames.

    Shape:
        (B, T, D) -> (B, D), of any T

    Example:
        >>> import torch
        >>> MeanOverTime()(torch.tensor([[[1.0, 4.0], [3.0, 0.0]]]))
        tensor([[2., 2.]])
    """

    def forward(self, frame_features: Tensor) -> Tensor:
        return frame_features.mean(dim=1)


@MODELS.register_module()
class AttentionOverTime(QueryAttention):
    """Pools the features of frames by one learned query that attends to them in several heads.

    Initially this is `MeanOverTime` between linear layers.

    Args:
        in_dim: Width of the features. The model fills it in from the backbone.
        num_heads: Number of attention heads, which must divide the width.

    Shape:
        (B, T, D) -> (B, D), of any T

    Example:
        >>> import torch
        >>> AttentionOverTime(in_dim=16)(torch.zeros(2, 8, 16)).shape
        torch.Size([2, 16])
    """

    def forward(self, frame_features: Tensor) -> Tensor:
        return self.attend(frame_features)


@MODELS.register_module()
class StatisticsOverTime(nn.Module):
    """Concatenates mean, change and spread of the features of frames, for probes of frozen features.

    The change is half the difference between the means of the second and the first half of the clip. For a single
    frame, change and spread are 0. It has no parameters.

    Shape:
        (B, T, D) -> (B, 3 * D), of any T

    Example:
        >>> StatisticsOverTime()(torch.tensor([[[1.0], [1.0], [3.0], [3.0]]]))
        tensor([[2., 1., 1.]])
    """

    def forward(self, frame_features: Tensor) -> Tensor:
        num_frames = frame_features.shape[1]
        mean = frame_features.mean(dim=1)
        spread = frame_features.std(dim=1, correction=0)
        if num_frames == 1:
            return torch.cat([mean, torch.zeros_like(mean), spread], dim=1)
        half = num_frames // 2
        change = (frame_features[:, -half:].mean(dim=1) - frame_features[:, :half].mean(dim=1)) / 2
        return torch.cat([mean, change, spread], dim=1)
