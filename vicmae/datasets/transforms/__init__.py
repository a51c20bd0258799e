# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .clip_sampling import DistantFramePair, UniformFrames
from .color import ColorJitter, GaussianBlur, RandomGrayscale
from .crop import CenterCrop, RandomFlip, RandomResizedCrop
from .formatting import PackClip, PackViews
from .loading import DecodeFrames, LoadImage, OpenVideo
from .two_view import TwoViews

__all__ = [
    'CenterCrop',
    'ColorJitter',
    'DecodeFrames',
    'DistantFramePair',
    'GaussianBlur',
    'LoadImage',
    'OpenVideo',
    'PackClip',
    'PackViews',
    'RandomFlip',
    'RandomGrayscale',
    'RandomResizedCrop',
    'TwoViews',
    'UniformFrames',
]
