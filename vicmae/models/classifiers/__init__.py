# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .transfer import TransferClassifier

__all__ = ['TransferClassifier']
