# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .labelled import LabelledPreprocessor
from .pixels import PixelPreprocessor
from .views import ViewPreprocessor

__all__ = ['LabelledPreprocessor', 'PixelPreprocessor', 'ViewPreprocessor']
