# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the loss: BYOL, a predictor and an EMA teacher (not in the paper).

bash tools/dist_train.sh vicmae_vit-base-p16_loss-byol_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model = dict(
    projector=dict(type='MLPHead', hidden_dim=4096, out_dim=256, num_blocks=1, norm='SyncBN'),
    predictor=dict(hidden_dim=4096, out_dim=256, num_blocks=1),
    target=dict(_delete_=True, type='EMATarget', momentum=0.996),
    head=dict(contrastive=dict(_delete_=True, type='CosineLoss')),
)
