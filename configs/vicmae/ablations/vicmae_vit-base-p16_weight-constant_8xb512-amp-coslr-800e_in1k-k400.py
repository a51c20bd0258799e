# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the contrastive weight: constant from the first step on, as in the official code.

bash tools/dist_train.sh vicmae_vit-base-p16_weight-constant_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

custom_hooks = []
