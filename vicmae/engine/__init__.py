# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .loops import PretrainIterLoop, PretrainLoop
from .runner import PretrainRunner

__all__ = ['PretrainIterLoop', 'PretrainLoop', 'PretrainRunner']
