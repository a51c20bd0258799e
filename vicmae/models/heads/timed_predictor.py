# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Predictor that knows the time between the views. B batch, D input width, E output width, F periods."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vicmae.registry import MODELS


@MODELS.register_module()
class TimedPredictor(nn.Module):
    """Predicts the other view from the embedding of this one and the time between them.

    A prediction without the time must be the same for all frames of a video, so the embedding need not keep what
    changes. With the time, it may. The time is encoded by sines and cosines, whose linear map is added to the input of
    the predictor. It starts at zero, and it adds nothing if the time is zero, as for two views of an image.

    Targets must not contain the time, so a model needs a projector or a `target.head`. Batches need the times of views:
    `dict(type='PackViews', with_times=True)`.

    Args:
        predictor: Predictor, such as `MLPHead`.
        in_dim: Width of the input. The model fills it in.
        periods: Periods of the sines and cosines in seconds, each above 0.

    Shape:
        embeddings (B, D), seconds from this view to the other (B,) -> (B, E)
    """

    nested_parts = ('predictor',)

    def __init__(
        self,
        predictor: nn.Module,
        *,
        in_dim: int,
        periods: Sequence[float] = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
    ) -> None:
        super().__init__()
        if not periods or not all(0 < period < math.inf for period in periods):
            raise ValueError(
                f'`periods` must be positive numbers of seconds, got {tuple(periods)}. Give some from the shortest '
                'to more than twice the longest time between two views.'
            )
        self.periods = tuple(periods)
        self.time_embed = nn.Linear(2 * len(self.periods), in_dim, bias=False)
        self.predictor = predictor
        self.init_weights()

    def init_weights(self) -> None:
        """Sets the embedding of time to zero."""
        nn.init.zeros_(self.time_embed.weight)

    def forward(self, embeddings: Tensor, seconds: Tensor) -> Tensor:
        time = self.time_embed(self.encode_time(seconds).to(embeddings.dtype))
        return self.predictor(embeddings + time)

    def encode_time(self, seconds: Tensor) -> Tensor:
        """Encodes times by the sine, and the cosine minus 1, of each period. Zero is all zeros: (B,) -> (B, 2F)."""
        angles = torch.stack([2 * math.pi / period * seconds for period in self.periods], dim=-1)
        return torch.cat([angles.sin(), angles.cos() - 1], dim=-1)

    def extra_repr(self) -> str:
        return f'periods={self.periods}'
