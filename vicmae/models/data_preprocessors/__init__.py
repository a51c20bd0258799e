# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .joint import JointPreprocessor
from .labelled import LabelledPreprocessor
from .pixels import PixelPreprocessor
from .views import ViewPreprocessor

__all__ = ['JointPreprocessor', 'LabelledPreprocessor', 'PixelPreprocessor', 'ViewPreprocessor']
