# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Pictures and pages that show what a run did."""

from .charts import Curve, CurvePanel, ProbeResult
from .report import (
    Neighbour,
    NeighbourRow,
    NextStep,
    ReconstructionRow,
    Report,
    render_report,
    write_report,
)

__all__ = [
    'Curve',
    'CurvePanel',
    'Neighbour',
    'NeighbourRow',
    'NextStep',
    'ProbeResult',
    'ReconstructionRow',
    'Report',
    'render_report',
    'write_report',
]
