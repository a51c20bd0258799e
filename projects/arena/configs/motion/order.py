# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE that must also name order and distance of the two frames."""

_base_ = './knows-time.py'

model = dict(
    predictor=dict(_delete_=True, type='MLPHead', norm='SyncBN', **_base_.projector),
    head=dict(
        order_weight=0.03,
        order=dict(type='FrameOrderLoss', hidden_dim=512, edges=(0.5, 1.0, 2.0)),
    ),
)
