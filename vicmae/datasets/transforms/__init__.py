# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .clip_sampling import (
    DistantClips,
    DistantFramePair,
    FixedGapFramePair,
    SameFramePair,
    SegmentFrames,
    UniformClips,
    UniformFramePair,
    UniformFrames,
)
from .color import ColorJitter, GaussianBlur, RandomGrayscale, RandomSolarize
from .crop import CenterCrop, RandomFlip, RandomResizedCrop, SpatialCrops
from .formatting import PackClip, PackImage, PackViews
from .loading import DecodeFrames, LoadImage, OpenVideo
from .seeded import MMPretrainAugment
from .views import ClipView, ClipViews, OneView, TwoViews

__all__ = [
    'CenterCrop',
    'ClipView',
    'ClipViews',
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
    'SegmentFrames',
    'SpatialCrops',
    'TwoViews',
    'UniformClips',
    'UniformFramePair',
    'UniformFrames',
]
