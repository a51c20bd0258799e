# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .classification import ClassAccuracy
from .knn import KNNAccuracy, knn_predict

__all__ = ['ClassAccuracy', 'KNNAccuracy', 'knn_predict']
