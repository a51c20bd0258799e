# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Helpers for the tests of this project, and of parts that build on it."""

from .component import check_component
from .gloo import GlooPool
from .memory import peak_memory
from .poison import PoisonGradients, PoisonLoss, PoisonPixels
from .toy_clips import write_clip
from .toy_run import ToyModel, toy_runner
from .toys import randomize, toy_transfer_config, toy_vicmae_config, toy_video_mae_config

__all__ = [
    'GlooPool',
    'PoisonGradients',
    'PoisonLoss',
    'PoisonPixels',
    'ToyModel',
    'check_component',
    'peak_memory',
    'randomize',
    'toy_runner',
    'toy_transfer_config',
    'toy_vicmae_config',
    'toy_video_mae_config',
    'write_clip',
]
