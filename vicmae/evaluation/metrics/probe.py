# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What all measures of frozen features have in common. Q queries, R references (the bank), D width."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from vicmae.errors import DataError
from vicmae.utils.log import warn

from .predictions import each_once

ROLES = ('bank', 'query')


@dataclass(frozen=True)
class Probe:
    """Features whose classes are known, and features to classify.

    Attributes:
        bank: (R, D)
        bank_labels: (R,), from 0 on.
        queries: (Q, D)
        query_labels: (Q,), of the same classes.
        name: What messages call it.
    """

    bank: Tensor
    bank_labels: Tensor
    queries: Tensor
    query_labels: Tensor
    name: str = ''

    @property
    def num_classes(self) -> int:
        """Number of classes, of those in either part."""
        return 1 + int(max(self.bank_labels.max(), self.query_labels.max()))

    def standardized(self) -> 'Probe':
        """With the bank's mean taken from all features, and divided by the bank's spread in each direction."""
        mean, spread = self.bank.mean(dim=0), self.bank.std(dim=0, correction=0)
        spread = torch.where(spread > 0, spread, 1.0)  # a direction that is the same for all
        return Probe(
            (self.bank - mean) / spread,
            self.bank_labels,
            (self.queries - mean) / spread,
            self.query_labels,
            self.name,
        )


class ProbeMetric(BaseMetric):
    """Measures frozen features, for each probe (images, videos) that the samples name.

    Samples carry `probe` (a name), `role` ('bank' or 'query'), `gt_label`, and the `feature` that
    the model wrote. In what order they come, on how many ranks and in what batches, doesn't matter.

    Args:
        device: Where it is computed; None for the GPU, where there is one.
        collect_device: Where features of several ranks are gathered.
        prefix: Put in front of the names.
    """

    default_prefix = ''  # the probes' names come first

    def __init__(
        self,
        *,
        device: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.device = device or ('cuda' if torch.cuda.is_available() else 'cpu')

    def measure(self, probe: Probe) -> dict[str, float]:
        """The figures of a probe, in percent.

        Args:
            probe: Features on `device`.
        """
        raise NotImplementedError  # each subclass has its own

    def names(self) -> list[str]:
        """The names of the figures."""
        raise NotImplementedError  # each subclass has its own

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
            names = {name: sample.get(name) for name in ('path', 'sample_idx')}
            self.results.append({**row, **names})

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Computes the figures of each probe."""
        metrics: dict[str, float] = {}
        # The order of paths, whatever the number of ranks.
        results = sorted(
            each_once(results), key=lambda row: (row['path'] or '', row['sample_idx'] or 0)
        )
        for name in sorted({row['probe'] for row in results}):
            rows = [row for row in results if row['probe'] == name]
            if all(np.isfinite(row['feature']).all() for row in rows):
                figures = self.measure(self._gather(name, rows))
            else:
                warn(f"The features of the probe '{name}' are not finite.")
                figures = dict.fromkeys(self.names(), math.nan)
            metrics.update({f'{name}/{figure}': value for figure, value in figures.items()})
        return metrics

    def _gather(self, name: str, rows: list[dict[str, Any]]) -> Probe:
        parts = {role: [row for row in rows if row['role'] == role] for role in ROLES}
        for role, part in parts.items():
            if not part:
                raise DataError(
                    f"The probe '{name}' has no {role}. It needs one source with role 'bank' and one "
                    "with role 'query'."
                )
        _compare_classes(name, parts)
        ids = {label: i for i, label in enumerate(sorted({row['label'] for row in rows}, key=str))}
        features = {
            role: torch.from_numpy(np.stack([row['feature'] for row in part])).to(self.device)
            for role, part in parts.items()
        }
        labels = {
            role: torch.tensor([ids[row['label']] for row in part], device=self.device)
            for role, part in parts.items()
        }
        return Probe(features['bank'], labels['bank'], features['query'], labels['query'], name)


def _compare_classes(probe: str, parts: dict[str, list[dict[str, Any]]]) -> None:
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
        warn(
            f"{len(strange)} of {len(parts['query'])} queries of the probe '{probe}' are of classes that the "
            f'bank lacks, such as {strange[0]!r}, and count as wrong.'
        )
