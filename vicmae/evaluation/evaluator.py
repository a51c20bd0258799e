# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from typing import Any

from mmengine.evaluator import Evaluator

from vicmae.errors import DataError

from .metrics.probe import NOT_MEASURED, ProbeMetric


class ProbeEvaluator(Evaluator):
    """MMEngine's evaluator, which raises DataError if no probe could be measured by any metric."""

    def evaluate(self, size: int) -> dict[str, Any]:
        """Computes all metrics. Those of a probe that can't be measured are NaN, with the reason as another entry."""
        metrics = super().evaluate(size)
        reasons = {name: metrics[name] for name in metrics if name.endswith(NOT_MEASURED)}
        main = {metric.names()[0] for metric in self.metrics if isinstance(metric, ProbeMetric)}
        measured = [
            name
            for name in metrics
            if name.rpartition('/')[2] in main and name + NOT_MEASURED not in reasons
        ]
        if reasons and not measured and all(isinstance(m, ProbeMetric) for m in self.metrics):
            raise DataError(
                f'No probe could be measured. {" ".join(dict.fromkeys(reasons.values()))}'
            )
        return metrics
