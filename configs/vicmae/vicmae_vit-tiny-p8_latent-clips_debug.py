# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Prediction of an EMA encoder's tokens in seconds on a CPU: images and clips that are drawn on the spot, kNN on both.

vicmae train vicmae_vit-tiny-p8_latent-clips_debug
"""

_base_ = [
    '../_base_/models/vicmae_vit-base-p16.py',
    '../_base_/datasets/demo-clips.py',
    '../_base_/schedules/adamw-coslr-2e.py',
    '../_base_/default_runtime.py',
]

image_size = 64
patch_size = 8

model = dict(
    backbone=dict(
        _delete_=True,
        type='MaskedViT',
        arch=dict(embed_dims=64, num_layers=2, num_heads=2, feedforward_channels=128),
        tubelet_size=2,
        with_cls_token=False,
        masking=dict(
            type='ImageOrClipMasking',
            image=dict(type='BlockMasking', mask_ratio=0.75),
            clip=dict(type='BlockMasking', mask_ratio=0.9),
        ),
    ),
    neck=dict(embed_dim=32, depth=2, num_heads=2),
    predictor=None,
    target=None,
    head=dict(
        reconstruction=dict(_delete_=True, type='LatentPredictionLoss', momentum=0.99),
        contrastive=None,
    ),
)
custom_hooks = []  # without contrast
default_hooks = dict(
    logger=dict(interval=4),
    checkpoint=dict(by_epoch=False, interval=4),
)
