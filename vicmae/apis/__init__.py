# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from vicmae.utils.config import load_config

from .features import Features, encode_files, extract_features, load_clips
from .launch import build_runner
from .model import draw_weights, load_model

__all__ = [
    'Features',
    'build_runner',
    'draw_weights',
    'encode_files',
    'extract_features',
    'load_clips',
    'load_config',
    'load_model',
]
