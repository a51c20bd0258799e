# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .mixture import MixtureSampler

__all__ = ['MixtureSampler']
