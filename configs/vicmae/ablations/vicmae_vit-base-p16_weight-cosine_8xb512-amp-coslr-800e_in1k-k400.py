# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the contrastive weight: raised along a cosine.

bash tools/dist_train.sh vicmae_vit-base-p16_weight-cosine_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

custom_hooks = [dict(type='LossWeightScheduleHook', unit='run', end=0.05, shape='cosine')]
