# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ImageNet-1K images and Kinetics-400 videos, mixed in each batch; kNN probes on both.

Class folders: data/imagenet/{train,val}/<class>/*, data/kinetics400/{train,val}/<class>/*.
"""

num_frames = 8  # of a clip

image_root = 'data/imagenet'
video_root = 'data/kinetics400'

# The paper: images are cropped and coloured strongly, frames of a video only cropped and flipped.
# Workers read, crop and draw; flips and colours are made on the device. JPEGs are decoded no larger than needed.
image_crop_and_flip = [
    dict(type='RandomResizedCrop', scale=(0.2, 1.0)),
    dict(type='RandomFlip'),
]
color_changes = [
    dict(
        type='ColorJitter',
        brightness=0.4,
        contrast=0.4,
        saturation=0.2,
        hue=0.1,
        prob=0.8,
    ),
    dict(type='RandomGrayscale', prob=0.2),
    dict(type='GaussianBlur', sigma=(0.1, 2.0), prob=0.5),
]
frame_pair = dict(type='DistantFramePair', num_segments=2, window_seconds=64 / 30)
video_crop_and_flip = [
    dict(type='RandomResizedCrop', scale=(0.5, 1.0)),
    dict(type='RandomFlip'),
]
video_views = dict(type='TwoViews', on_device=True, transforms=video_crop_and_flip)

train_image = [
    dict(type='LoadImage', lazy=True),
    dict(type='TwoViews', on_device=True, transforms=[*image_crop_and_flip, *color_changes]),
    dict(type='PackViews'),
]
train_video = [
    dict(type='OpenVideo'),
    frame_pair,
    dict(type='DecodeFrames'),
    video_views,
    dict(type='PackViews'),
]

train_dataloader = dict(
    batch_size=512,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='MixtureSampler'),
    dataset=dict(
        type='MixedDataset',
        # Every sample once an epoch, less what fills no last batch.
        # weights=dict(images=1, videos=1) would make batches half and half.
        sources=dict(
            images=dict(type='ImageFolder', data_root=image_root + '/train', pipeline=train_image),
            videos=dict(type='VideoFolder', data_root=video_root + '/train', pipeline=train_video),
        ),
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

# kNN: features of the bank vote for those of the queries.
val_dataloader = dict(
    batch_size=64,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MixedDataset',
        sources=dict(
            image_bank=dict(
                type='ImageFolder',
                data_root=image_root + '/train',
                with_labels=True,
                max_per_class=50,
                tags=dict(probe='images', role='bank'),
                pipeline=test_image,
            ),
            image_query=dict(
                type='ImageFolder',
                data_root=image_root + '/val',
                with_labels=True,
                max_per_class=10,
                tags=dict(probe='images', role='query'),
                pipeline=test_image,
            ),
            video_bank=dict(
                type='VideoFolder',
                data_root=video_root + '/train',
                with_labels=True,
                max_per_class=25,
                tags=dict(probe='videos', role='bank'),
                pipeline=test_video,
            ),
            video_query=dict(
                type='VideoFolder',
                data_root=video_root + '/val',
                with_labels=True,
                max_per_class=10,
                tags=dict(probe='videos', role='query'),
                pipeline=test_video,
            ),
        ),
    ),
)
val_evaluator = dict(type='KNNAccuracy', k=20)
val_cfg = dict()

test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict()
