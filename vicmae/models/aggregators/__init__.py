# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .attention import AttentionPooling
from .pooling import ClsPooling, GeMPooling, MaxPooling, MeanPooling
from .temporal import AttentionOverTime, MeanOverTime, StatisticsOverTime

__all__ = [
    'AttentionOverTime',
    'AttentionPooling',
    'ClsPooling',
    'GeMPooling',
    'MaxPooling',
    'MeanOverTime',
    'MeanPooling',
    'StatisticsOverTime',
]
