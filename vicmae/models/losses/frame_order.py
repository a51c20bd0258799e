# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Order of two frames. B batch, D width, R ranges of time."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vicmae.registry import MODELS
from vicmae.utils.distributed import sum_over_ranks

from ..heads.mlp import MLPHead
from .precision import full_precision
from .two_views import check_two_views


@MODELS.register_module()
class FrameOrderLoss(MLPHead):
    """Classifies the signed time between the two frames of a video, from their pooled tokens.

    The pooled tokens then must keep what moves, which a contrastive loss alone may remove. Use it as `head.order` of
    `ViCMAE`. There are 2R classes: R ranges of time, for a second view that is earlier and for one that is later. An
    `MLPHead` g of the joined tokens of views a and b gives the scores

        s(a, b) = g(a, b) + reversed(g(b, a))

    so that swapping the views reverses the scores: frames need no random order. Views without time between them, such
    as those of an image, don't count. The loss is the mean cross entropy over the pairs of all ranks, log(2R) at the
    start. Batches need the times of views: `dict(type='PackViews', with_times=True)`.

    Args:
        in_dim: Width of the pooled tokens. The model fills it in.
        edges: Times in seconds that separate the ranges, above 0 and rising: R - 1 of them. None of them leaves the
            order only.
        hidden_dim: Width of the hidden layer.
        num_blocks: Number of Linear-norm-ReLU blocks before the last Linear, at least 1: a linear g would compare the
            sum of the tokens of each view alone.

    Shape:
        pooled tokens (2, B, D), seconds from each view to the other (2, B) -> `order` () and `order_accuracy` (), the
        share of pairs whose order is predicted correctly
    """

    def __init__(
        self,
        *,
        in_dim: int,
        edges: Sequence[float] = (0.5, 1.0, 2.0),
        hidden_dim: int = 4096,
        num_blocks: int = 1,
    ) -> None:
        if any(not before < after for before, after in itertools.pairwise([0, *edges])):
            raise ValueError(
                f'`edges` must be rising times above 0, in seconds, got {tuple(edges)}.'
            )
        if num_blocks < 1:
            raise ValueError(
                f'`num_blocks` must be at least 1, got {num_blocks}: a linear layer cannot compare two views.'
            )
        mlp: dict[str, Any] = dict(hidden_dim=hidden_dim, num_blocks=num_blocks, norm='LN')
        # Two views, and two classes for each range.
        super().__init__(in_dim=2 * in_dim, out_dim=2 * (len(edges) + 1), **mlp)
        self.edges = tuple(edges)

    def init_weights(self) -> None:
        """Initialises weights as in MAE, but all scores start at zero."""
        super().init_weights()
        nn.init.zeros_(self[-1].weight)  # type: ignore[arg-type]

    def forward(self, pooled: Tensor, seconds: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        check_two_views(pooled, pooled)
        to_second = seconds[0]
        with full_precision(self.score(pooled)) as (scores,):
            errors = F.cross_entropy(scores, self.classes(to_second), reduction='none')
            earlier, later = scores.unflatten(1, (2, -1)).logsumexp(dim=2).unbind(dim=1)
            correct = (later - earlier) * to_second > 0
            counted = to_second != 0
            sums = torch.stack([errors * counted, correct * counted, counted]).sum(dim=1)
            error, num_correct, num_pairs = sum_over_ranks(sums)
            num_pairs = num_pairs.clamp(min=1)  # a batch of images only
            return dict(order=error / num_pairs, order_accuracy=num_correct / num_pairs)

    def score(self, pooled: Tensor) -> Tensor:
        """Scores the classes of each pair: (2, B, D) -> (B, 2R)."""
        both_orders = torch.cat([pooled, pooled.flip(0)], dim=-1)  # (2, B, 2D)
        forwards, backwards = super().forward(both_orders)
        return forwards + backwards.flip(-1)

    def classes(self, seconds: Tensor) -> Tensor:
        """Returns the class of signed times, from much earlier to much later: (B,) -> (B,)."""
        edges = torch.tensor(self.edges, device=seconds.device)
        ranges = torch.bucketize(seconds.abs(), edges, right=True)
        first_later = len(self.edges) + 1
        return torch.where(seconds > 0, first_later + ranges, first_later - 1 - ranges)

    def extra_repr(self) -> str:
        return f'edges={self.edges}'
