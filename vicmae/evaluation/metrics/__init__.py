# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .knn import KNNAccuracy, knn_predict

__all__ = ['KNNAccuracy', 'knn_predict']
