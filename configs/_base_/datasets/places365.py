# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Places365 in class folders, data/places365/{train,val}/<class>/*."""

data_root = 'data/places365'
num_classes = 365
