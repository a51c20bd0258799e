# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .feature_loop import FeatureTestLoop
from .loops import PretrainIterLoop, PretrainLoop
from .runner import PretrainRunner

__all__ = ['FeatureTestLoop', 'PretrainIterLoop', 'PretrainLoop', 'PretrainRunner']
