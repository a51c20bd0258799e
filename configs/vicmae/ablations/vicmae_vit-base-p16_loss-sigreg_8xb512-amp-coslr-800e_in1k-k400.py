# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the loss: SIGReg in place of negatives (LeJEPA, not in the paper; not run at this scale here).

bash tools/dist_train.sh vicmae_vit-base-p16_loss-sigreg_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model = dict(head=dict(contrastive=dict(_delete_=True, type='SIGRegLoss')))
