# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .block import BlockMasking
from .frame import FrameMasking
from .random import Mask, RandomMasking

__all__ = ['BlockMasking', 'FrameMasking', 'Mask', 'RandomMasking']
