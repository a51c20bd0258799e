# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""SIGReg on images and clips without a decoder: 95 % of a clip is dropped, and 75 % of an image of only 64 patches."""

_base_ = './motion/clips.py'

model = dict(
    backbone=dict(
        tubelet_size=1,
        masking=dict(clip=dict(mask_ratio=0.95)),
    ),
    neck=None,
    aggregator=dict(type='ClsPooling'),
    projector=dict(type='MLPHead', num_blocks=1, norm='SyncBN', **_base_.projector),
    predictor=None,
    target=dict(_delete_=True, type='SharedTarget'),
    head=dict(
        reconstruction=None,
        contrastive=dict(_delete_=True, type='SIGRegLoss', weight=0.02),
        contrastive_weight=1.0,
    ),
)
custom_hooks = []  # the weight has no schedule
train_dataloader = dict(batch_size=128)
auto_scale_lr = dict(base_batch_size=128)
