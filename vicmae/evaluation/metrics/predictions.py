# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What a model said of samples, each once."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from mmengine.evaluator import DumpResults

from vicmae.registry import METRICS

Row = TypeVar('Row', bound=Mapping[str, Any])


@METRICS.register_module()
class DumpPredictions(DumpResults):
    """Writes what the model said of each sample into a pickle file, each sample once.

    MMEngine's own cuts what ranks were given twice off the end, which is another sample where a file was unreadable.
    """

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Writes the file; there are no figures."""
        return super().compute_metrics(each_once(results))


def each_once(rows: Sequence[Row]) -> list[Row]:
    """Each sample once, by its probe, role and path; all of those that have no path."""
    seen: dict[Any, Row] = {}
    for number, row in enumerate(rows):
        own = number if row.get('path') is None else row['path']
        seen.setdefault((row.get('probe'), row.get('role'), own), row)
    return list(seen.values())
