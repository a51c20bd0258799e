# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .labelled import LabelledPreprocessor
from .two_view import TwoViewPreprocessor

__all__ = ['LabelledPreprocessor', 'TwoViewPreprocessor']
