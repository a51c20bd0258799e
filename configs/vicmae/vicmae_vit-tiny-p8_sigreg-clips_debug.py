# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""SIGReg without decoder in seconds on a CPU: images and clips that are drawn on the spot, two epochs, kNN on both.

vicmae train vicmae_vit-tiny-p8_sigreg-clips_debug
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

train_image = [
    dict(type='LoadImage'),
    dict(type='TwoViews', transforms=_base_.crop_and_flip),
    dict(type='PackViews'),
]
train_video = [
    dict(type='OpenVideo'),
    dict(type='DistantClips', num_segments=2, frame_stride=2),
    dict(type='DecodeFrames'),
    dict(type='ClipViews', transforms=_base_.crop_and_flip),
    dict(type='PackViews'),
]
train_dataloader = dict(
    dataset=dict(
        sources=dict(
            images=dict(pipeline=train_image),
            videos=dict(pipeline=train_video, visits_per_opening=1),
        ),
    ),
)
default_hooks = dict(
    logger=dict(interval=4),
    checkpoint=dict(by_epoch=False, interval=4),
)
