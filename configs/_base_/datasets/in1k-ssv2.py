# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Images of ImageNet-1K and clips of Something-Something v2, one kind in each step; kNN probes of both.

Class folders data/imagenet/{train,val}/<class>/*; lists data/ssv2/{train,val}.txt with a line `videos/1234.webm 12` for
each video. A clip has 16 frames, 2 apart, which are 2.7 seconds at 12 frames a second. It isn't flipped: the classes
know left from right. Four clips are drawn of a video that is opened, and the epoch has as many clips as videos.
"""

num_frames = 16  # of a clip

image_root = 'data/imagenet'
video_root = 'data/ssv2'

image_crop_and_flip = [
    dict(type='RandomResizedCrop', scale=(0.2, 1.0)),
    dict(type='RandomFlip'),
]
random_crop = dict(type='RandomResizedCrop', scale=(0.08, 1.0))
train_image = [
    dict(type='LoadImage', lazy=True),
    dict(type='OneView', on_device=True, transforms=image_crop_and_flip),
    dict(type='PackViews'),
]
train_video = [
    dict(type='OpenVideo'),
    dict(type='DistantClips', num_segments=1, frame_stride=2),
    dict(type='DecodeFrames'),
    dict(type='ClipViews', on_device=True, transforms=[random_crop]),
    dict(type='PackViews'),
]
train_dataloader = dict(
    batch_size=256,
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
            videos=dict(
                type='VideoFolder',
                data_root=video_root,
                ann_file='train.txt',
                visits_per_opening=4,
                pipeline=train_video,
            ),
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
    dict(type='UniformClips', num_clips=1, frame_stride=2),
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
                data_root=video_root,
                ann_file='train.txt',
                with_labels=True,
                max_per_class=25,
                tags=dict(probe='videos', role='bank'),
                pipeline=test_video,
            ),
            video_query=dict(
                type='VideoFolder',
                data_root=video_root,
                ann_file='val.txt',
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
