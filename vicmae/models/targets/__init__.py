# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What predictions are compared with.

A target is called with (pooled tokens, the student's embeddings, views, mask) and takes of these what it needs.
"""

from .ema import EMATarget
from .shared import SharedTarget
from .stop_gradient import StopGradientTarget

__all__ = ['EMATarget', 'SharedTarget', 'StopGradientTarget']
