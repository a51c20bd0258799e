# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Images and clips that are drawn on the spot, one kind in each step, for debug runs of methods that encode clips."""

demo_data = dict(root='data/demo-debug', preset='debug')  # made when it isn't there

num_frames = 4  # of a clip

image_root = 'data/demo-debug/images'
video_root = 'data/demo-debug/videos'

crop_and_flip = [
    dict(type='RandomResizedCrop', scale=(0.5, 1.0)),
    dict(type='RandomFlip'),
]
train_image = [
    dict(type='LoadImage'),
    dict(type='OneView', transforms=crop_and_flip),
    dict(type='PackViews'),
]
train_video = [
    dict(type='OpenVideo'),
    dict(type='DistantClips', num_segments=1, frame_stride=2),
    dict(type='DecodeFrames'),
    dict(type='ClipViews', transforms=crop_and_flip),
    dict(type='PackViews'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type='collate_by_kind'),
    sampler=dict(type='MixtureSampler', samples_per_epoch=64),
    batch_sampler=dict(type='OneSourceBatches'),  # None: both kinds in each step
    dataset=dict(
        type='MixedDataset',
        sources=dict(
            images=dict(type='ImageFolder', data_root=image_root + '/train', pipeline=train_image),
            videos=dict(
                type='VideoFolder',
                data_root=video_root + '/train',
                visits_per_opening=4,
                pipeline=train_video,
            ),
        ),
        weights=dict(images=1, videos=1),
    ),
)

test_image = [dict(type='LoadImage'), dict(type='CenterCrop'), dict(type='PackClip')]
test_video = [
    dict(type='OpenVideo'),
    dict(type='UniformClips', num_clips=1, frame_stride=2),
    dict(type='DecodeFrames'),
    dict(type='CenterCrop'),
    dict(type='PackClip'),
]
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MixedDataset',
        sources=dict(
            image_bank=dict(
                type='ImageFolder',
                data_root=image_root + '/train',
                with_labels=True,
                tags=dict(probe='images', role='bank'),
                pipeline=test_image,
            ),
            image_query=dict(
                type='ImageFolder',
                data_root=image_root + '/val',
                with_labels=True,
                tags=dict(probe='images', role='query'),
                pipeline=test_image,
            ),
            video_bank=dict(
                type='VideoFolder',
                data_root=video_root + '/train',
                with_labels=True,
                tags=dict(probe='videos', role='bank'),
                pipeline=test_video,
            ),
            video_query=dict(
                type='VideoFolder',
                data_root=video_root + '/val',
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
