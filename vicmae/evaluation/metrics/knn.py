# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What frozen features are worth, without training anything. Q queries, R references (the bank), D width."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from vicmae.errors import DataError
from vicmae.registry import METRICS

ROLES = ('bank', 'query')
_CHUNK = 1024
_MAX_ROWS_FOR_RANK = 2048


def knn_predict(
    queries: Tensor, bank: Tensor, labels: Tensor, *, k: int = 20, temperature: float = 0.07
) -> Tensor:
    """Predicts labels by a vote of the nearest references, weighted by exp(cosine similarity / temperature).

    Args:
        queries: Features to classify.
        bank: Features with known labels.
        labels: Those labels, from 0 on.
        k: Number of neighbours that vote; all of the bank where it is smaller.
        temperature: Small for a vote that near ones dominate.

    Shape:
        (Q, D), (R, D), (R,) -> (Q,)
    """
    queries, bank = F.normalize(queries.float(), dim=-1), F.normalize(bank.float(), dim=-1)
    num_classes = int(labels.max()) + 1
    predicted = []
    for part in queries.split(_CHUNK):
        similarity, ids = (part @ bank.T).topk(min(k, len(bank)), dim=1)
        votes = part.new_zeros(len(part), num_classes)
        # Weights up to a factor per query: exp alone overflows where the temperature is small.
        votes.scatter_add_(1, labels[ids], (similarity / temperature).softmax(dim=1))
        predicted.append(votes.argmax(dim=1))
    return torch.cat(predicted)


def effective_rank(features: Tensor) -> float:
    """How many directions features really use: exp of the entropy of their normalised singular values.

    Near 1, the features have collapsed to a line.

    Shape:
        (R, D) -> between 1 and min(R, D)
    """
    step = -(-len(features) // _MAX_ROWS_FOR_RANK)
    rows = features[::step].double()
    values = torch.linalg.svdvals(rows - rows.mean(dim=0))
    total = values.sum()
    if total == 0:
        return 1.0
    share = values / total
    return float((-(share * share.clamp_min(1e-300).log()).sum()).exp())


@METRICS.register_module()
class KNNAccuracy(BaseMetric):
    """kNN accuracy of frozen features, for each probe (images, videos) that the samples name.

    Samples carry `probe` (a name), `role` ('bank' or 'query'), `gt_label`, and the `feature` that
    the model wrote. Reports in percent, per probe: `knn_top1`, `chance` (the share of the queries' most
    frequent class), and `effective_rank` of the bank's features, which shows a collapse.

    Args:
        k: Number of neighbours that vote.
        temperature: Of the vote's weights.
        collect_device: Where features of several ranks are gathered.
        prefix: Put in front of the names.
    """

    default_prefix = ''  # the probes' names come first

    def __init__(
        self,
        k: int = 20,
        *,
        temperature: float = 0.07,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if k < 1:
            raise ValueError(f'`k` must be at least 1, got {k}.')
        if not temperature > 0:
            raise ValueError(f'`temperature` must be positive, got {temperature}.')
        self.k = k
        self.temperature = temperature

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keeps feature, label, probe and role of each sample."""
        for sample in data_samples:
            if sample.get('role') not in ROLES:
                raise DataError(
                    f"Each sample of a probe needs `tags=dict(probe=..., role='bank' or 'query')` in its "
                    f'source, got role {sample.get("role")!r} for {sample.get("path")!r}.'
                )
            feature = sample['feature'].float().cpu().numpy()
            # Folders name their classes; two of them needn't number these in the same way.
            label = sample.get('class_name', int(sample['gt_label']))
            probe = sample.get('probe', 'probe')
            row = dict(probe=probe, role=sample['role'], label=label, feature=feature)
            self.results.append({**row, 'path': sample.get('path')})

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Computes the figures of each probe."""
        metrics: dict[str, float] = {}
        results = _once(results)
        for probe in sorted({row['probe'] for row in results}):
            rows = [row for row in results if row['probe'] == probe]
            for name, value in self._compute_probe(probe, rows).items():
                metrics[f'{probe}/{name}'] = value
        return metrics

    def _compare_classes(self, probe: str, parts: dict[str, list[dict[str, Any]]]) -> None:
        """Queries whose class the bank lacks can't be right; where that is all of them, something is wrong."""
        known = {row['label'] for row in parts['bank']}
        strange = [row['label'] for row in parts['query'] if row['label'] not in known]
        if len(strange) == len(parts['query']):
            raise DataError(
                f"The probe '{probe}' compares queries of classes like {strange[0]!r} with a bank of classes "
                f'like {parts["bank"][0]["label"]!r}: none is in both. Take both from class folders of the same '
                'names, or both from lists.'
            )
        if strange:
            print_log(
                f"{len(strange)} of {len(parts['query'])} queries of the probe '{probe}' are of classes that the "
                f'bank lacks, such as {strange[0]!r}, and count as wrong.',
                'current',
                logging.WARNING,
            )

    def _compute_probe(self, probe: str, rows: list[dict[str, Any]]) -> dict[str, float]:
        if not all(np.isfinite(row['feature']).all() for row in rows):
            print_log(
                f"The features of the probe '{probe}' are not finite.", 'current', logging.WARNING
            )
            return {'knn_top1': math.nan, 'chance': math.nan, 'effective_rank': math.nan}
        parts = {role: [row for row in rows if row['role'] == role] for role in ROLES}
        for role, part in parts.items():
            if not part:
                raise DataError(
                    f"The probe '{probe}' has no {role}. It needs one source with role 'bank' and one "
                    "with role 'query'."
                )
        features = {
            r: torch.from_numpy(np.stack([row['feature'] for row in p])) for r, p in parts.items()
        }
        self._compare_classes(probe, parts)
        ids = {name: i for i, name in enumerate(sorted({row['label'] for row in rows}, key=str))}
        labels = {r: torch.tensor([ids[row['label']] for row in p]) for r, p in parts.items()}
        predicted = knn_predict(
            features['query'],
            features['bank'],
            labels['bank'],
            k=self.k,
            temperature=self.temperature,
        )
        return {
            'knn_top1': 100 * (predicted == labels['query']).float().mean().item(),
            'chance': 100 * labels['query'].bincount().max().item() / len(labels['query']),
            'effective_rank': effective_rank(features['bank']),
        }


def _once(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what the sampler gave to a second rank, so that all have equally many.

    MMEngine cuts that off at the end, which only finds it where no bad file is missing in between.
    """
    seen: dict[Any, dict[str, Any]] = {}
    for number, row in enumerate(results):
        own = number if row['path'] is None else row['path']
        seen.setdefault((row['probe'], row['role'], own), row)
    return list(seen.values())
