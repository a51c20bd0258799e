# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .block import BlockMasking
from .frame import FrameMasking
from .image_or_clip import ImageOrClipMasking
from .random import Mask, RandomMasking
from .tube import TubeMasking
from .uniform import seeds_of_views, uniform

__all__ = [
    'BlockMasking',
    'FrameMasking',
    'ImageOrClipMasking',
    'Mask',
    'RandomMasking',
    'TubeMasking',
    'seeds_of_views',
    'uniform',
]
