# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .classification import ClassAccuracy
from .knn import KNNAccuracy, knn_predict
from .linear_probe import LinearProbeAccuracy, LogisticAccuracy, fit_heads, fit_logistic_regression
from .predictions import DumpPredictions
from .probe import ProbeMetric

__all__ = [
    'ClassAccuracy',
    'DumpPredictions',
    'KNNAccuracy',
    'LinearProbeAccuracy',
    'LogisticAccuracy',
    'ProbeMetric',
    'fit_heads',
    'fit_logistic_regression',
    'knn_predict',
]
