# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the reconstruction: contrast of masked views alone, at full weight from the start.

bash tools/dist_train.sh vicmae_vit-base-p16_reconstruction-off_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model = dict(head=dict(reconstruction=None, contrastive_weight=1.0))
custom_hooks = []
