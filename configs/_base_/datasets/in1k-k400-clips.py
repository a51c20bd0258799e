# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Pairs of ImageNet-1K images and of Kinetics-400 clips, one kind in each step; kNN probes of both.

Class folders: data/imagenet/{train,val}/<class>/*, data/kinetics400/{train,val}/<class>/*. A pair is two views of an
image, which has one time step, or two clips of a video, one from each half; a clip has 16 frames, 4 apart.
"""

_base_ = './in1k-k400.py'

num_frames = 16  # of a clip

train_video = [
    dict(type='OpenVideo'),
    dict(type='DistantClips', num_segments=2, frame_stride=4),
    dict(type='DecodeFrames'),
    dict(type='ClipViews', on_device=True, transforms=_base_.video_crop_and_flip),
    dict(type='PackViews'),
]
train_dataloader = dict(
    batch_size=128,
    collate_fn=dict(type='collate_by_kind'),
    batch_sampler=dict(type='OneSourceBatches'),  # None: both kinds in each step
    dataset=dict(sources=dict(videos=dict(pipeline=train_video))),
)

test_video = [
    dict(type='OpenVideo'),
    dict(type='UniformClips', num_clips=1, frame_stride=4),
    dict(type='DecodeFrames'),
    dict(type='CenterCrop'),
    dict(type='PackClip'),
]
val_dataloader = dict(
    batch_size=16,
    dataset=dict(
        sources=dict(
            video_bank=dict(pipeline=test_video),
            video_query=dict(pipeline=test_video),
        ),
    ),
)
test_dataloader = val_dataloader
