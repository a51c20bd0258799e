# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What a model said of samples, each once."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from mmengine.evaluator import DumpResults

from vicmae.registry import METRICS

Row = TypeVar('Row', bound=Mapping[str, Any])


@METRICS.register_module()
class DumpPredictions(DumpResults):
    """Writes what the model said of each sample into a pickle file, each sample once."""

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Writes the file; there are no figures."""
        return super().compute_metrics(each_once(results))


def each_once(rows: Sequence[Row]) -> list[Row]:
    """Keeps the first row of each sample, by its position in the data set; and all rows that have none.

    Ranks get some samples twice, so that all have equally many. MMEngine cuts these off the end, which is another
    sample where a file was unreadable. A file that a list names twice is two samples.
    """
    seen: dict[Any, Row] = {}
    for number, row in enumerate(rows):
        sample = row.get('sample_idx')
        seen.setdefault((True, number) if sample is None else (False, sample), row)
    return list(seen.values())
