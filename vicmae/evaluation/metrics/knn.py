# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""kNN accuracy and statistics of frozen features. Q queries, R references (the bank), D width."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vicmae.registry import METRICS
from vicmae.utils.log import say, warn

from .probe import Probe, ProbeMetric

_MAX_QUERIES_AT_ONCE = 1024
_MAX_SIMILARITIES_AT_ONCE = 2**28  # 1 GiB
_MAX_ROWS_FOR_RANK = 2048
_COLLAPSED = 0.99  # mean cosine


def knn_predict(
    queries: Tensor, bank: Tensor, labels: Tensor, *, k: int = 20, temperature: float = 0.07
) -> Tensor:
    """Predicts labels by a vote of the `k` nearest references, weighted by exp(cosine similarity / temperature).

    Labels of the bank count from 0; all references of a smaller bank vote.

    Shape:
        (Q, D), (R, D), (R,) -> (Q,)
    """
    return knn_predict_each(queries, bank, labels, ks=(k,), temperature=temperature)[k]


def knn_predict_each(
    queries: Tensor, bank: Tensor, labels: Tensor, *, ks: Sequence[int], temperature: float = 0.07
) -> dict[int, Tensor]:
    """Predicts labels as `knn_predict`, for several numbers of neighbours at the cost of the largest."""
    queries, bank = F.normalize(queries.float(), dim=-1), F.normalize(bank.float(), dim=-1)
    num_classes = int(labels.max()) + 1
    predicted: dict[int, list[Tensor]] = {k: [] for k in ks}
    part_size = max(1, min(_MAX_QUERIES_AT_ONCE, _MAX_SIMILARITIES_AT_ONCE // len(bank)))
    for part in queries.split(part_size):
        similarity, ids = (part @ bank.T).topk(min(max(ks), len(bank)), dim=1)  # nearest first
        # Weights up to a factor per query, since exp overflows for a small temperature.
        weights = ((similarity - similarity[:, :1]) / temperature).exp()
        for k in ks:
            votes = part.new_zeros(len(part), num_classes)
            votes.scatter_add_(1, labels[ids[:, :k]], weights[:, :k])
            predicted[k].append(votes.argmax(dim=1))
    return {k: torch.cat(parts) for k, parts in predicted.items()}


def effective_rank(features: Tensor) -> float:
    """Counts the directions in which features differ: exp of the entropy of their normalised singular values.

    It is between 1, for features on a line, and min(R, D). Mean and scale don't matter: nearly equal features can have
    a high rank, so read it together with `mean_cosine`.
    """
    step = -(-len(features) // _MAX_ROWS_FOR_RANK)
    rows = features[::step].double()
    values = torch.linalg.svdvals(rows - rows.mean(dim=0))
    total = values.sum()
    if total == 0:
        return 1.0
    share = values / total
    return float((-(share * share.clamp_min(1e-300).log()).sum()).exp())


def mean_cosine(features: Tensor) -> float:
    """Averages the cosine similarity over all pairs of two features: 1 if all are equal, NaN for one feature."""
    rows = F.normalize(features.double(), dim=1)
    number = len(rows)
    if number < 2:
        return math.nan
    # The squared norm of the sum has all ordered pairs, including those of a row with itself.
    return float((rows.sum(dim=0).square().sum() - rows.square().sum()) / (number * (number - 1)))


def relative_std(features: Tensor) -> float:
    """Computes the standard deviation of L2-normalised features, mean over dimensions, in units of 1 / sqrt(D).

    0 for features of one direction, 1 for uniformly random directions (SimSiam, https://arxiv.org/abs/2011.10566).
    """
    rows = F.normalize(features.double(), dim=1)
    return float(rows.std(dim=0, correction=0).mean() * rows.shape[1] ** 0.5)


_HEALTH = dict(effective_rank=effective_rank, mean_cosine=mean_cosine, relative_std=relative_std)


@METRICS.register_module()
class KNNAccuracy(ProbeMetric):
    """kNN accuracy of frozen features, for each probe (images, videos) of the samples.

    Reports in percent, per probe: `knn_top1` (for several k, `knn10_top1` and so on), `chance` (the share of the
    queries' most frequent class), and of the bank's features `effective_rank`, `mean_cosine` and `relative_std`. The
    last two show a collapse; a mean cosine above 0.99 gives a warning.

    Args:
        k: Number of neighbours that vote, or several: DINO (https://arxiv.org/abs/2104.14294) tries 10, 20, 100, 200.
        temperature: The smaller, the more the nearest neighbours dominate.
        kwargs: Arguments of `ProbeMetric`.
    """

    def __init__(
        self, k: int | Sequence[int] = 20, *, temperature: float = 0.07, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.several = not isinstance(k, int)
        self.ks = (k,) if isinstance(k, int) else tuple(k)
        if not self.ks or min(self.ks) < 1:
            raise ValueError(f'`k` must be at least 1, got {k}.')
        if not temperature > 0:
            raise ValueError(f'`temperature` must be positive, got {temperature}.')
        self.temperature = temperature

    def names(self) -> list[str]:
        return [*(self._name(k) for k in self.ks), 'chance', *_HEALTH]

    def _name(self, k: int) -> str:
        return f'knn{k}_top1' if self.several else 'knn_top1'

    def measure(self, probe: Probe) -> dict[str, float]:
        if max(self.ks) > len(probe.bank):
            say(
                f'The bank of the probe {probe.name!r} has {len(probe.bank)} samples: for a larger `k`, all of them '
                'vote.'
            )
        predicted = knn_predict_each(
            probe.queries, probe.bank, probe.bank_labels, ks=self.ks, temperature=self.temperature
        )
        labels = probe.query_labels
        accuracies = {k: 100 * (p == labels).float().mean().item() for k, p in predicted.items()}
        return {
            **{self._name(k): accuracy for k, accuracy in accuracies.items()},
            'chance': 100 * labels.bincount().max().item() / len(labels),
            **self._measure_health(probe),
        }

    def _measure_health(self, probe: Probe) -> dict[str, float]:
        statistics = {name: measure(probe.bank) for name, measure in _HEALTH.items()}
        if statistics['mean_cosine'] > _COLLAPSED:
            warn(
                f'The features of the probe {probe.name!r} are nearly all the same: their mean cosine is '
                f'{statistics["mean_cosine"]:.4f}. The model has collapsed, or its inputs hardly differ.'
            )
        return statistics
