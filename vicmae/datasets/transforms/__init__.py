# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .clip_sampling import (
    DistantClips,
    DistantFramePair,
    FixedGapFramePair,
    SameFramePair,
    UniformFramePair,
    UniformFrames,
)
from .color import ColorJitter, GaussianBlur, RandomGrayscale, RandomSolarize
from .crop import CenterCrop, RandomFlip, RandomResizedCrop
from .formatting import PackClip, PackImage, PackViews
from .loading import DecodeFrames, LoadImage, OpenVideo
from .seeded import MMPretrainAugment
from .views import OneView, TwoViews

__all__ = [
    'CenterCrop',
    'ColorJitter',
    'DecodeFrames',
    'DistantClips',
    'DistantFramePair',
    'FixedGapFramePair',
    'GaussianBlur',
    'LoadImage',
    'MMPretrainAugment',
    'OneView',
    'OpenVideo',
    'PackClip',
    'PackImage',
    'PackViews',
    'RandomFlip',
    'RandomGrayscale',
    'RandomResizedCrop',
    'RandomSolarize',
    'SameFramePair',
    'TwoViews',
    'UniformFramePair',
    'UniformFrames',
]
