# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Labelled videos in class folders, `data_root`/{train,val}/<class>/*, as MAE-ST fine-tunes on them.

Clips of 16 frames, 4 apart, anywhere in the video, two of each video that is opened; crops, flips, RandAugment (7 of
10, spread 0.5, two at a time) and random erasing of a quarter of the clips, each the same for all frames of a clip.
One clip in the middle while training; in tests the mean of 7 clips x 3 crops.
"""

num_frames = 16  # of a clip

random_crop = dict(type='RandomResizedCrop', scale=(0.08, 1.0))
rand_augment = dict(
    type='MMPretrainAugment',
    transforms=[
        dict(
            type='mmpretrain.RandAugment',
            policies='timm_increasing',
            num_policies=2,
            magnitude_level=7,
            magnitude_std=0.5,
            hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
        ),
        dict(
            type='mmpretrain.RandomErasing',
            erase_prob=0.25,
            mode='rand',
            min_area_ratio=0.02,
            max_area_ratio=1 / 3,
            fill_color=[103.53, 116.28, 123.675],  # blue, green, red
            fill_std=[57.375, 57.12, 58.395],
        ),
    ],
)
train_views = dict(type='ClipView', transforms=[random_crop, dict(type='RandomFlip'), rand_augment])
train_video = [
    dict(type='OpenVideo'),
    dict(type='DistantClips', num_segments=1, frame_stride=4),
    dict(type='DecodeFrames'),
    train_views,
    dict(type='PackClip'),
]
val_video = [
    dict(type='OpenVideo'),
    dict(type='UniformClips', num_clips=1, frame_stride=4),
    dict(type='DecodeFrames'),
    dict(type='SpatialCrops', num_crops=1),
    dict(type='PackClip'),
]
test_video = [
    dict(type='OpenVideo'),
    dict(type='UniformClips', num_clips=7, frame_stride=4),
    dict(type='DecodeFrames'),
    dict(type='SpatialCrops', num_crops=3),
    dict(type='PackClip'),
]

train_dataloader = dict(
    batch_size=16,
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
    batch_size=16,
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
