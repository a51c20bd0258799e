# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ImageNet-1K in class folders, data/imagenet/{train,val}/<class>/*."""

data_root = 'data/imagenet'
num_classes = 1000
