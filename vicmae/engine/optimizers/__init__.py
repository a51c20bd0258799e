# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .constructor import CheckedOptimWrapperConstructor
from .transfer import TransferOptimWrapperConstructor

__all__ = ['CheckedOptimWrapperConstructor', 'TransferOptimWrapperConstructor']
