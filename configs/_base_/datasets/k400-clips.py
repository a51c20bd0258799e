# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Clips of Kinetics-400 for pretraining: 16 frames, 4 apart, anywhere in the video; kNN probe of videos.

Class folders: data/kinetics400/{train,val}/<class>/*. Clips are cropped and flipped, the same for all frames.
"""

num_frames = 16  # of a clip

video_root = 'data/kinetics400'

video_crop_and_flip = [
    dict(type='RandomResizedCrop', scale=(0.5, 1.0)),
    dict(type='RandomFlip'),
]
train_video = [
    dict(type='OpenVideo'),
    dict(type='DistantClips', num_segments=1, frame_stride=4),
    dict(type='DecodeFrames'),
    dict(type='ClipViews', on_device=True, transforms=video_crop_and_flip),
    dict(type='PackViews'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='MixtureSampler'),
    dataset=dict(
        type='MixedDataset',
        sources=dict(
            videos=dict(type='VideoFolder', data_root=video_root + '/train', pipeline=train_video),
        ),
    ),
)

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
