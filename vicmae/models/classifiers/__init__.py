# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .features import FrozenFeatures
from .joint import SupervisedJoint
from .transfer import TransferClassifier

__all__ = ['FrozenFeatures', 'SupervisedJoint', 'TransferClassifier']
