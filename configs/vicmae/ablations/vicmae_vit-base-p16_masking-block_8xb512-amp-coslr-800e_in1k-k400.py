# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the mask: rectangles in place of single patches (not in the paper).

bash tools/dist_train.sh vicmae_vit-base-p16_masking-block_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model = dict(backbone=dict(masking=dict(type='BlockMasking')))
