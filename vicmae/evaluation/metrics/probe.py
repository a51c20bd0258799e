# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The base of metrics of frozen features. Q queries, R references (the bank), D width."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from vicmae.errors import DataError
from vicmae.utils.log import warn

from .predictions import each_once

ROLES = ('bank', 'query')
NOT_MEASURED = '_not_measured'  # end of the name of a reason


@dataclass(frozen=True)
class Probe:
    """A bank of features with known classes, and query features to classify. Labels count from 0 on."""

    bank: Tensor  # (R, D)
    bank_labels: Tensor  # (R,)
    queries: Tensor  # (Q, D)
    query_labels: Tensor  # (Q,)
    name: str = ''

    @property
    def num_classes(self) -> int:
        """Returns the number of classes in both parts."""
        return 1 + int(max(self.bank_labels.max(), self.query_labels.max()))

    def standardized(self) -> 'Probe':
        """Returns the probe with features of mean 0 and standard deviation 1 over the bank, in each dimension."""
        mean, std = self.bank.mean(dim=0), self.bank.std(dim=0, correction=0)
        std = torch.where(std > 0, std, 1.0)  # a constant dimension
        return replace(self, bank=(self.bank - mean) / std, queries=(self.queries - mean) / std)


class ProbeMetric(BaseMetric):
    """Evaluates frozen features, for each probe (images, videos) of the samples.

    Samples have `probe` (a name), `role` ('bank' or 'query'), `gt_label`, and the model's `feature`. Their order,
    batches and ranks don't matter. A probe that can't be measured gets NaN and the reason, and doesn't end the others.

    Args:
        device: Device of the computation; None for the GPU, if there is one.
        collect_device: Device on which features of ranks are gathered.
        prefix: Prefix of the names.
    """

    default_prefix = ''  # the names start with the probe

    def __init__(
        self, *, device: str | None = None, collect_device: str = 'cpu', prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.device = device or ('cuda' if torch.cuda.is_available() else 'cpu')

    def measure(self, probe: Probe) -> dict[str, float]:
        """Returns the metrics of a probe, in percent."""
        raise NotImplementedError  # each subclass has its own

    def names(self) -> list[str]:
        """Returns the names of the metrics."""
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
            row = {name: sample.get(name) for name in ('role', 'path', 'sample_idx')}
            # Two folders may number their named classes differently.
            row['label'] = sample.get('class_name', int(sample['gt_label']))
            self.results.append({**row, 'probe': sample.get('probe', 'probe'), 'feature': feature})

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float | str]:
        """Computes the metrics of each probe."""
        metrics: dict[str, float | str] = {}
        # Ordered by path, for any number of ranks.
        results = each_once(results)
        results.sort(key=lambda row: (row['path'] or '', row['sample_idx'] or 0))
        for name in sorted({row['probe'] for row in results}):
            rows = [row for row in results if row['probe'] == name]
            values, reason = dict.fromkeys(self.names(), math.nan), ''
            if not all(np.isfinite(row['feature']).all() for row in rows):
                warn(f"The features of the probe '{name}' are not finite.")
            else:
                try:
                    values = self.measure(self._gather(name, rows))
                except DataError as error:
                    reason = str(error)
                    warn(f"The probe '{name}' is not measured by {type(self).__name__}: {reason}")
            metrics.update({f'{name}/{metric}': value for metric, value in values.items()})
            if reason:
                metrics[f'{name}/{self.names()[0]}{NOT_MEASURED}'] = reason
        return metrics

    def _gather(self, name: str, rows: list[dict[str, Any]]) -> Probe:
        bank, queries = ([row for row in rows if row['role'] == role] for role in ROLES)
        for role, part in zip(ROLES, (bank, queries), strict=True):
            if not part:
                raise DataError(
                    f"The probe '{name}' has no {role}. It needs one source with role 'bank' and one "
                    "with role 'query'."
                )
        _compare_classes(name, bank, queries)
        ids = {label: i for i, label in enumerate(sorted({row['label'] for row in rows}, key=str))}

        def tensors(part: Sequence[dict[str, Any]]) -> tuple[Tensor, Tensor]:
            features = torch.from_numpy(np.stack([row['feature'] for row in part]))
            labels = torch.tensor([ids[row['label']] for row in part], device=self.device)
            return features.to(self.device), labels

        return Probe(*tensors(bank), *tensors(queries), name)


def _compare_classes(
    probe: str, bank: Sequence[dict[str, Any]], queries: Sequence[dict[str, Any]]
) -> None:
    """Warns of queries whose class the bank lacks, and raises DataError if all are."""
    known = {row['label'] for row in bank}
    unknown = [row['label'] for row in queries if row['label'] not in known]
    if len(unknown) == len(queries):
        raise DataError(
            f"The probe '{probe}' compares queries of classes like {unknown[0]!r} with a bank of classes "
            f'like {bank[0]["label"]!r}: none is in both. Take both from class folders of the same '
            'names, or both from lists.'
        )
    if unknown:
        warn(
            f"{len(unknown)} of {len(queries)} queries of the probe '{probe}' are of classes that the "
            f'bank lacks, such as {unknown[0]!r}, and count as wrong.'
        )
