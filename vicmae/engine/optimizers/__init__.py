# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .bfloat16 import BFloat16OptimWrapper
from .constructor import CheckedOptimWrapperConstructor
from .guarded import GuardedAmpOptimWrapper, GuardedOptimWrapper
from .transfer import TransferOptimWrapperConstructor

__all__ = [
    'BFloat16OptimWrapper',
    'CheckedOptimWrapperConstructor',
    'GuardedAmpOptimWrapper',
    'GuardedOptimWrapper',
    'TransferOptimWrapperConstructor',
]
