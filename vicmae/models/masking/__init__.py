# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .random import Mask, RandomMasking

__all__ = ['Mask', 'RandomMasking']
