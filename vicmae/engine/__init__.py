# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .runner import PretrainRunner

__all__ = ['PretrainRunner']
