# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from vicmae.checkpoints.convert.conversion import CHECKPOINT_FORMATS, Conversion, convert_checkpoint
from vicmae.config.load import load_config

from .features import FeatureExtractor, Features, encode_files, extract_features, load_clips
from .flops import Flops, count_flops
from .launch import build_runner
from .model import draw_weights, load_model

__all__ = [
    'CHECKPOINT_FORMATS',
    'Conversion',
    'FeatureExtractor',
    'Features',
    'Flops',
    'build_runner',
    'convert_checkpoint',
    'count_flops',
    'draw_weights',
    'encode_files',
    'extract_features',
    'load_clips',
    'load_config',
    'load_model',
]
