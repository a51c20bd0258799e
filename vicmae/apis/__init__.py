# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from vicmae.utils.config import load_config

from .features import Features, extract_features
from .launch import build_runner
from .model import draw_weights, load_model

__all__ = [
    'Features',
    'build_runner',
    'draw_weights',
    'extract_features',
    'load_config',
    'load_model',
]
