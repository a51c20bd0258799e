# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Labelled videos in class folders, data/kinetics400/{train,val}/<class>/*, of which a probe sees single frames.

Eight frames spread over the video, each anywhere in its eighth, two draws of each video that is opened; crops and
flips, the same for all frames. Eight in the middles while training; in tests the mean of two such sets x 3 crops.
"""

num_frames = 8  # of a clip

train_dataloader = dict(
    batch_size=64,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='MixtureSampler'),
    dataset=dict(
        type='VideoFolder',
        data_root='data/kinetics400/train',
        with_labels=True,
        visits_per_opening=2,
        pipeline=[
            dict(type='OpenVideo'),
            dict(type='SegmentFrames'),
            dict(type='DecodeFrames'),
            dict(
                type='ClipView',
                transforms=[
                    dict(type='RandomResizedCrop', scale=(0.08, 1.0)),
                    dict(type='RandomFlip'),
                ],
            ),
            dict(type='PackClip'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VideoFolder',
        data_root='data/kinetics400/val',
        with_labels=True,
        pipeline=[
            dict(type='OpenVideo'),
            dict(type='UniformFrames'),
            dict(type='DecodeFrames'),
            dict(type='SpatialCrops', num_crops=1),
            dict(type='PackClip'),
        ],
    ),
)
val_evaluator = dict(type='ClassAccuracy', topk=(1, 5))
val_cfg = dict()

test_dataloader = dict(
    batch_size=4,
    num_workers=12,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VideoFolder',
        data_root='data/kinetics400/val',
        with_labels=True,
        pipeline=[
            dict(type='OpenVideo'),
            dict(type='UniformFrames', num_clips=2),
            dict(type='DecodeFrames'),
            dict(type='SpatialCrops', num_crops=3),
            dict(type='PackClip'),
        ],
    ),
)
test_evaluator = val_evaluator
test_cfg = dict()
