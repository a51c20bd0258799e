# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .feature_loop import FeatureTestLoop
from .loops import EpochLoop, IterLoop
from .runner import VicmaeRunner
from .schedules import CosineLR, WarmupLR

__all__ = ['CosineLR', 'EpochLoop', 'FeatureTestLoop', 'IterLoop', 'VicmaeRunner', 'WarmupLR']
