# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Pictures and pages that show what a run did."""

from .charts import Curve, CurvePanel, ProbeResult

__all__ = ['Curve', 'CurvePanel', 'ProbeResult']
