# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the loss: no contrast, which leaves MAE on both views.

bash tools/dist_train.sh vicmae_vit-base-p16_loss-none_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model = dict(head=dict(contrastive=None))
custom_hooks = []  # no weight to raise
