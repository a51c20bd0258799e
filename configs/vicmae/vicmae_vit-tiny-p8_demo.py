# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The demo: a tiny ViC-MAE on pictures and clips drawn on the spot, minutes on two CPU cores.

make demo
"""

_base_ = [
    '../_base_/models/vicmae_vit-base-p16.py',
    '../_base_/default_runtime.py',
]

demo_data = dict(root='data/demo', preset='demo')  # made when it isn't there

image_size = 64
patch_size = 8
num_frames = 4

model = dict(
    backbone=dict(
        arch=dict(embed_dims=128, num_layers=4, num_heads=4, feedforward_channels=512),
    ),
    neck=dict(embed_dim=96, depth=1, num_heads=4),
    predictor=dict(hidden_dim=256, out_dim=64),
    target=dict(head=dict(hidden_dim=256, out_dim=64)),
    # Ten times the usual weight: a few hundred steps have to show what contrast is worth.
    head=dict(contrastive_weight=0.3),
)

image_crop_and_flip = [
    dict(type='RandomResizedCrop', scale=(0.3, 1.0)),
    dict(type='RandomFlip'),
]
color_changes = [
    dict(
        type='ColorJitter',
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.5,
        prob=0.8,
    ),
    dict(type='RandomGrayscale', prob=0.2),
]
video_crop_and_flip = [
    dict(type='RandomResizedCrop', scale=(0.5, 1.0)),
    dict(type='RandomFlip'),
]
train_image = [
    dict(type='LoadImage'),
    dict(type='TwoViews', transforms=[*image_crop_and_flip, *color_changes]),
    dict(type='PackViews'),
]
train_video = [
    dict(type='OpenVideo'),
    dict(type='DistantFramePair'),
    dict(type='DecodeFrames'),
    dict(type='TwoViews', transforms=video_crop_and_flip),
    dict(type='PackViews'),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='MixtureSampler', samples_per_epoch=2048),
    dataset=dict(
        type='MixedDataset',
        sources=dict(
            images=dict(
                type='ImageFolder', data_root='data/demo/images/train', pipeline=train_image
            ),
            videos=dict(
                type='VideoFolder', data_root='data/demo/videos/train', pipeline=train_video
            ),
        ),
        weights=dict(images=1, videos=1),
    ),
)

test_image = [dict(type='LoadImage'), dict(type='CenterCrop'), dict(type='PackClip')]
test_video = [
    dict(type='OpenVideo'),
    dict(type='UniformFrames'),
    dict(type='DecodeFrames'),
    dict(type='CenterCrop'),
    dict(type='PackClip'),
]
val_dataloader = dict(
    batch_size=64,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MixedDataset',
        sources=dict(
            image_bank=dict(
                type='ImageFolder',
                data_root='data/demo/images/train',
                with_labels=True,
                tags=dict(probe='images', role='bank'),
                pipeline=test_image,
            ),
            image_query=dict(
                type='ImageFolder',
                data_root='data/demo/images/val',
                with_labels=True,
                tags=dict(probe='images', role='query'),
                pipeline=test_image,
            ),
            video_bank=dict(
                type='VideoFolder',
                data_root='data/demo/videos/train',
                with_labels=True,
                tags=dict(probe='videos', role='bank'),
                pipeline=test_video,
            ),
            video_query=dict(
                type='VideoFolder',
                data_root='data/demo/videos/val',
                with_labels=True,
                tags=dict(probe='videos', role='query'),
                pipeline=test_video,
            ),
        ),
    ),
)
val_evaluator = dict(type='KNNAccuracy', k=10)
val_cfg = dict()
test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict()

optim_wrapper = dict(
    constructor='CheckedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
auto_scale_lr = dict(base_batch_size=128)
train_cfg = dict(type='EpochLoop', max_epochs=16, val_interval=8)
param_scheduler = [
    dict(type='WarmupLR', share=0.125, start_factor=0.01, by_epoch=False),
    dict(type='CosineLR', warmup_share=0.125, by_epoch=False),
]
custom_hooks = [dict(type='LossWeightScheduleHook', unit='run', end=0.125)]
default_hooks = dict(logger=dict(interval=16))
