# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the loss: SimSiam, a predictor and a stop-gradient (tried in the paper, worse; no figures known).

bash tools/dist_train.sh vicmae_vit-base-p16_loss-simsiam_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model = dict(
    projector=dict(type='MLPHead', hidden_dim=2048, out_dim=2048, norm='SyncBN'),
    predictor=dict(hidden_dim=512, out_dim=2048, num_blocks=1),
    target=dict(_delete_=True, type='StopGradientTarget'),
    head=dict(contrastive=dict(_delete_=True, type='CosineLoss')),
)
