# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The miniature: ViC-MAE on some thousand real pictures and some hundred real clips, minutes on a CPU.

0.97 of the reconstruction and 0.03 of the contrast, the weights of the official code. The other rows change these
alone. Each clip is seen four times an epoch, in frame pairs from its two halves. The variable REAL_MINI names the
folder of the data.

    bash projects/miniature/run.sh
"""

_base_ = [
    '../../../configs/_base_/models/vicmae_vit-base-p16.py',
    '../../../configs/_base_/default_runtime.py',
]

data = '{{$REAL_MINI:../shared/data/real_mini}}'

image_size = 64
patch_size = 8
num_frames = 12

model = dict(
    backbone=dict(
        arch=dict(embed_dims=192, num_layers=6, num_heads=3, feedforward_channels=768),
    ),
    neck=dict(embed_dim=128, depth=2, num_heads=4),
    projector=dict(type='MLPHead', hidden_dim=512, out_dim=128, norm='BN'),
    predictor=None,
    target=dict(_delete_=True, type='SharedTarget'),  # no head: the projector's output
    head=dict(reconstruction_weight=0.97, contrastive_weight=0.03),
)

train_images = dict(
    type='ImageFolder',
    data_root=data + '/images/train',
    pipeline=[
        dict(type='LoadImage'),
        dict(
            type='TwoViews',
            on_device=True,
            transforms=[
                dict(type='RandomResizedCrop', scale=(0.2, 1.0)),
                dict(type='RandomFlip'),
                dict(
                    type='ColorJitter',
                    brightness=0.4,
                    contrast=0.4,
                    saturation=0.2,
                    hue=0.1,
                    prob=0.8,
                ),
                dict(type='RandomGrayscale', prob=0.2),
            ],
        ),
        dict(type='PackViews'),
    ],
)
train_videos = dict(
    type='VideoShards',
    shards='data/miniature/videos-*/*.tar',  # packed as frames: projects/miniature/run.sh
    pipeline=[
        dict(type='OpenVideo'),
        dict(type='DistantFramePair', window_seconds=None),
        dict(type='DecodeFrames'),
        dict(
            type='TwoViews',
            on_device=True,
            transforms=[
                dict(type='RandomResizedCrop', scale=(0.5, 1.0)),
                dict(type='RandomFlip'),
            ],
        ),
        dict(type='PackViews'),
    ],
)
train_dataloader = dict(
    batch_size=256,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='MixtureSampler', samples_per_epoch=5367 + 4 * 376),
    dataset=dict(
        type='MixedDataset',
        sources=dict(images=train_images, videos=train_videos),
        weights=dict(images=5367, videos=4 * 376),
    ),
)

test_image = [
    dict(type='LoadImage'),
    dict(type='CenterCrop'),
    dict(type='PackClip'),
]
test_video = [
    dict(type='OpenVideo'),
    dict(type='UniformFrames'),
    dict(type='DecodeFrames'),
    dict(type='CenterCrop'),
    dict(type='PackClip'),
]
sources = dict(
    image_bank=dict(
        type='ImageFolder',
        data_root=data + '/images/train',
        with_labels=True,
        tags=dict(probe='images', role='bank'),
        pipeline=test_image,
    ),
    image_query=dict(
        type='ImageFolder',
        data_root=data + '/images/val',
        with_labels=True,
        tags=dict(probe='images', role='query'),
        pipeline=test_image,
    ),
)
for videos in ('skate', 'ut'):
    for role, split in dict(bank='train', query='val').items():
        sources[f'{videos}_{role}'] = dict(
            type='VideoFolder',
            data_root=f'{data}/videos/{split}',
            with_labels=True,
            classes=[f'{videos}_*'],
            tags=dict(probe=videos, role=role),
            pipeline=test_video,
        )
test_dataloader = dict(
    batch_size=64,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='MixedDataset', sources=sources),
)
test_evaluator = [
    dict(type='KNNAccuracy', k=[10, 20, 100, 200]),
    dict(type='LogisticAccuracy'),
    dict(type='LinearProbeAccuracy'),
]
test_cfg = dict(type='FeatureTestLoop', over_time=dict(type='StatisticsOverTime'))

optim_wrapper = dict(
    constructor='CheckedOptimWrapperConstructor',
    type='BFloat16OptimWrapper',  # on CPUs, too
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
auto_scale_lr = dict(base_batch_size=256)
train_cfg = dict(type='EpochLoop', max_epochs=16)
param_scheduler = [
    dict(type='WarmupLR', share=1 / 16, start_factor=0.01, by_epoch=False),
    dict(type='CosineLR', warmup_share=1 / 16, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=13), checkpoint=dict(interval=4, max_keep_ckpts=1))
custom_hooks = []  # the weight is constant
