# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A model's predictions, once per sample."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from mmengine.evaluator import DumpResults

from vicmae.registry import METRICS

Row = TypeVar('Row', bound=Mapping[str, Any])


@METRICS.register_module()
class DumpPredictions(DumpResults):
    """Writes the predictions into a pickle file, once per sample."""

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Writes the file; there are no metrics."""
        return super().compute_metrics(each_once(results))


def each_once(rows: Sequence[Row]) -> list[Row]:
    """Keeps the first row of each sample, by its position in the data set; and all rows without one.

    Some samples are on two ranks, so that all have equally many. MMEngine drops as many rows at the end, which may be
    others if a file was unreadable.
    """
    seen: dict[Any, Row] = {}
    for number, row in enumerate(rows):
        sample = row.get('sample_idx')
        seen.setdefault((True, number) if sample is None else (False, sample), row)
    return list(seen.values())
