# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from vicmae.utils.config import load_config

from .launch import build_runner
from .model import load_model

__all__ = ['build_runner', 'load_config', 'load_model']
