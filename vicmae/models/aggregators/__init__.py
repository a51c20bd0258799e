# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .attention import AttentionPooling
from .pooling import ClsPooling, GeMPooling, MaxPooling, MeanPooling

__all__ = ['AttentionPooling', 'ClsPooling', 'GeMPooling', 'MaxPooling', 'MeanPooling']
