# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the loss: VICReg in place of negatives (tried in the paper, worse; no figures known).

bash tools/dist_train.sh vicmae_vit-base-p16_loss-vicreg_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model = dict(head=dict(contrastive=dict(_delete_=True, type='VICRegLoss')))
