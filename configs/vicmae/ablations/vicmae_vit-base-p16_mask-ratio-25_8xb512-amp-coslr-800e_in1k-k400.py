# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the mask ratio: 25 % of the patches are hidden.

bash tools/dist_train.sh vicmae_vit-base-p16_mask-ratio-25_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model = dict(backbone=dict(masking=dict(mask_ratio=0.25)))
