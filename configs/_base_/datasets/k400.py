# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Kinetics-400 in class folders, data/kinetics400/{train,val}/<class>/*."""

data_root = 'data/kinetics400'
num_classes = 400
