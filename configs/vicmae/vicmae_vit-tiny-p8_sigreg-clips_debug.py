# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""SIGReg without decoder in seconds on a CPU: images and clips that are drawn on the spot, two epochs, kNN on both.

vicmae train vicmae_vit-tiny-p8_sigreg-clips_debug
"""

_base_ = './vicmae_vit-tiny-p8_clips_debug.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='MaskedViT',
        arch=dict(embed_dims=64, num_layers=2, num_heads=2, feedforward_channels=128),
        tubelet_size=1,
        masking=dict(type='RandomMasking', mask_ratio=0.95),
    ),
    neck=None,
    aggregator=dict(type='ClsPooling'),
    projector=dict(type='MLPHead', hidden_dim=64, out_dim=32, num_blocks=1, norm='SyncBN'),
    predictor=None,
    target=dict(_delete_=True, type='SharedTarget'),
    head=dict(
        reconstruction=None,
        contrastive=dict(_delete_=True, type='SIGRegLoss', num_slices=64),
        contrastive_weight=1.0,
    ),
)
custom_hooks = []  # the weight has no schedule
