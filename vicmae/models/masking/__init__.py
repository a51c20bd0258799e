# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .block import BlockMasking
from .frame import FrameMasking
from .random import Mask, RandomMasking
from .uniform import seeds_of_views, uniform

__all__ = ['BlockMasking', 'FrameMasking', 'Mask', 'RandomMasking', 'seeds_of_views', 'uniform']
