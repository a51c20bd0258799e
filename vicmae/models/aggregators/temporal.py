# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Features of a clip's frames to one vector: how an image model sees videos. B batch, T frames, D width.

Neither knows the order of the frames; a backbone with `num_frames` above 1 can.
"""

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
    """Averages the features of frames with weights of its own: one learned query attends over them, in several heads.

    At first this is `MeanOverTime`, seen through linear layers.

    Args:
        in_dim: Width of the features.
        num_heads: Sets of weights, each for its own share of the width, which it must divide.

    Shape:
        (B, T, D) -> (B, D), of any T

    Example:
        >>> import torch
        >>> AttentionOverTime(in_dim=16)(torch.zeros(2, 8, 16)).shape
        torch.Size([2, 16])
    """

    def forward(self, frame_features: Tensor) -> Tensor:
        return self.attend(frame_features)
