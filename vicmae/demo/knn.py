# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math
import re
from collections.abc import Mapping
from typing import Any


def knn_metric(metrics: Mapping[str, Any], kind: str) -> str | None:
    """Returns the name of a kind's kNN accuracy, the first of several k; None if it was not measured."""
    names = [name for name in metrics if re.fullmatch(rf'{kind}/knn\d*_top1', name)]
    return names[0] if names and math.isfinite(metrics[names[0]]) else None
