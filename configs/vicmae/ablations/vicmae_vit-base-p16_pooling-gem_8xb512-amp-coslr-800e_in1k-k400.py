# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the pooling: generalised mean with a learned power (paper: 66.92).

bash tools/dist_train.sh vicmae_vit-base-p16_pooling-gem_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model = dict(aggregator=dict(type='GeMPooling'))
