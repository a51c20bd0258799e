# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .loops import PretrainLoop
from .runner import PretrainRunner

__all__ = ['PretrainLoop', 'PretrainRunner']
