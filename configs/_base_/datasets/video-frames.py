# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Labelled videos in class folders, `data_root`/{train,val}/<class>/*, of which a probe sees single frames.

Eight frames spread over the video, each anywhere in its eighth, two draws of each video that is opened; crops and
flips, the same for all frames. Eight in the middles while training; in tests the mean of two such sets x 3 crops.
"""

num_frames = 8  # of a clip

random_crop = dict(type='RandomResizedCrop', scale=(0.08, 1.0))
train_video = [
    dict(type='OpenVideo'),
    dict(type='SegmentFrames'),
    dict(type='DecodeFrames'),
    dict(type='ClipView', transforms=[random_crop, dict(type='RandomFlip')]),
    dict(type='PackClip'),
]
# For classes that know left from right.
train_video_without_flips = [
    dict(type='OpenVideo'),
    dict(type='SegmentFrames'),
    dict(type='DecodeFrames'),
    dict(type='ClipView', transforms=[random_crop]),
    dict(type='PackClip'),
]
val_video = [
    dict(type='OpenVideo'),
    dict(type='UniformFrames'),
    dict(type='DecodeFrames'),
    dict(type='SpatialCrops', num_crops=1),
    dict(type='PackClip'),
]
test_video = [
    dict(type='OpenVideo'),
    dict(type='UniformFrames', num_clips=2),
    dict(type='DecodeFrames'),
    dict(type='SpatialCrops', num_crops=3),
    dict(type='PackClip'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='MixtureSampler'),
    dataset=dict(
        type='VideoFolder',
        data_prefix='train',
        with_labels=True,
        visits_per_opening=2,
        pipeline=train_video,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='VideoFolder', data_prefix='val', with_labels=True, pipeline=val_video),
)
val_evaluator = dict(type='ClassAccuracy', topk=(1, 5))
val_cfg = dict()

test_dataloader = dict(
    batch_size=4,
    num_workers=12,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='VideoFolder', data_prefix='val', with_labels=True, pipeline=test_video),
)
test_evaluator = val_evaluator
test_cfg = dict()
