# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Supervised from scratch: one encoder of images and clips with a head for each set of labels."""

_base_ = [
    '../../../configs/_base_/models/supervised-joint_vit-base-p16.py',
    './_base_/clips.py',
    '../../../configs/_base_/default_runtime.py',
]

image_size = 48
patch_size = 8
num_frames = 8

classes = dict(images=100, ut=6, skate=2, utdd=21, utdc=5)

model = dict(
    data_preprocessor=dict(mixup_alpha=0.0, cutmix_alpha=0.0),  # too few steps for them
    backbone=dict(
        arch=dict(embed_dims=192, num_layers=4, num_heads=3, feedforward_channels=768),
        drop_path_rate=0.0,
    ),
    heads=dict(
        _delete_=True,
        **{
            name: dict(type='TransferHead', num_classes=number, init_std=0.01)
            for name, number in classes.items()
        },
    ),
)

sources = dict(
    images=dict(
        type='ImageShards',
        shards=_base_.image_shards,
        with_labels=True,
        pipeline=[*_base_.one_image[:-1], dict(type='PackImage')],
    ),
)
for name in ('ut', 'skate', 'utdd', 'utdc'):
    sources[name] = dict(
        type='VideoShards',
        shards=[f'data/arena/{name}/fit', f'data/arena/{name}/dev'],
        with_labels=True,
        pipeline=[
            *_base_.one_clip[:-2],
            dict(type='ClipView', transforms=[_base_.video_crop]),
            dict(type='PackClip'),
        ],
    )
train_dataloader = dict(
    batch_sampler=None,
    collate_fn=dict(_delete_=True, type='pseudo_collate'),
    dataset=dict(
        _delete_=True,
        type='MixedDataset',
        sources=sources,
        # Of the videos, each as often as it has clips.
        weights=dict(images=5, ut=0.4, skate=0.65, utdd=1.55, utdc=0.4),
    ),
)
custom_hooks = [dict(type='ClassFitHook')]
default_hooks = dict(checkpoint=dict(interval=1))
