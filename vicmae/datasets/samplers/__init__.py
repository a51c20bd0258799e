# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .mixture import MixtureSampler
from .one_source import OneSourceBatches

__all__ = ['MixtureSampler', 'OneSourceBatches']
