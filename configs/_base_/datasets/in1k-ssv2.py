# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Images of ImageNet-1K and clips of Something-Something v2, one kind in each step; kNN probes of both.

Class folders data/imagenet/{train,val}/<class>/*; lists data/ssv2/{train,val}.txt with a line `videos/1234.webm 12` for
each video. A clip has 16 frames, 2 apart, which are 2.7 seconds at 12 frames a second. It isn't flipped: the classes
know left from right. Four clips are drawn of a video that is opened, and the epoch has as many clips as videos.
"""

_base_ = './in1k-k400.py'

num_frames = 16  # of a clip

random_crop = dict(type='RandomResizedCrop', scale=(0.08, 1.0))
train_image = [
    dict(type='LoadImage', lazy=True),
    dict(type='OneView', on_device=True, transforms=_base_.image_crop_and_flip),
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
    collate_fn=dict(type='collate_by_kind'),
    batch_sampler=dict(type='OneSourceBatches'),  # None: both kinds in each step
    dataset=dict(
        sources=dict(
            images=dict(pipeline=train_image),
            videos=dict(
                data_root='data/ssv2',
                ann_file='train.txt',
                visits_per_opening=4,
                pipeline=train_video,
            ),
        ),
    ),
)

test_video = [
    dict(type='OpenVideo'),
    dict(type='UniformClips', num_clips=1, frame_stride=2),
    dict(type='DecodeFrames'),
    dict(type='CenterCrop'),
    dict(type='PackClip'),
]
val_dataloader = dict(
    batch_size=16,
    dataset=dict(
        sources=dict(
            video_bank=dict(data_root='data/ssv2', ann_file='train.txt', pipeline=test_video),
            video_query=dict(data_root='data/ssv2', ann_file='val.txt', pipeline=test_video),
        ),
    ),
)
test_dataloader = val_dataloader
