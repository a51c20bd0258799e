# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Pairs of ImageNet-1K images and of Kinetics-400 clips, one kind in each step; kNN probes of both.

Class folders: data/imagenet/{train,val}/<class>/*, data/kinetics400/{train,val}/<class>/*. A pair is two views of an
image, which has one time step, or two clips of a video, one from each half; a clip has 16 frames, 4 apart.
"""

num_frames = 16  # of a clip

image_root = 'data/imagenet'
video_root = 'data/kinetics400'

# As in the paper, images are cropped and coloured strongly, and videos only cropped and flipped.
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
video_crop_and_flip = [
    dict(type='RandomResizedCrop', scale=(0.5, 1.0)),
    dict(type='RandomFlip'),
]
train_image = [
    dict(type='LoadImage', lazy=True),
    dict(type='TwoViews', on_device=True, transforms=[*image_crop_and_flip, *color_changes]),
    dict(type='PackViews'),
]
train_video = [
    dict(type='OpenVideo'),
    dict(type='DistantClips', num_segments=2, frame_stride=4),
    dict(type='DecodeFrames'),
    dict(type='ClipViews', on_device=True, transforms=video_crop_and_flip),
    dict(type='PackViews'),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='collate_by_kind'),
    sampler=dict(type='MixtureSampler'),
    batch_sampler=dict(type='OneSourceBatches'),  # None: both kinds in each step
    dataset=dict(
        type='MixedDataset',
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
    dict(type='UniformClips', num_clips=1, frame_stride=4),
    dict(type='DecodeFrames'),
    dict(type='CenterCrop'),
    dict(type='PackClip'),
]
# kNN: features of the bank vote for those of the queries.
val_dataloader = dict(
    batch_size=16,
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
