# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Targets with which predictions are compared.

A target is called with the student's pooled tokens, its embeddings, and a teacher's pooled tokens or None, each
(V, B, ...).
"""

from .ema import EMATarget
from .shared import SharedTarget
from .stop_gradient import StopGradientTarget
from .teacher import EMATeacher

__all__ = ['EMATarget', 'EMATeacher', 'SharedTarget', 'StopGradientTarget']
