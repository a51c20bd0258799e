# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .pooling import MaxPooling, MeanPooling

__all__ = ['MaxPooling', 'MeanPooling']
