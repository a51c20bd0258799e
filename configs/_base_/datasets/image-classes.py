# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Labelled images in class folders, `data_root`/{train,val}/<class>/*, with the augmentation of a fine-tuning.

Random crops, flips, RandAugment (9 of 10, spread 0.5, two at a time) and random erasing of a quarter of the images.
Tests take the middle, 224 of 256 pixels or as much of another `image_size`.
"""

crop_and_flip = [
    dict(type='RandomResizedCrop', scale=(0.08, 1.0)),
    dict(type='RandomFlip'),
]
rand_augment = dict(
    type='MMPretrainAugment',
    transforms=[
        dict(
            type='mmpretrain.RandAugment',
            policies='timm_increasing',
            num_policies=2,
            magnitude_level=9,
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
train_image = [
    dict(type='LoadImage', lazy=True),
    dict(type='OneView', transforms=[*crop_and_flip, rand_augment]),
    dict(type='PackImage'),
]
# For probes: crops and flips alone.
probe_image = [
    dict(type='LoadImage', lazy=True),
    dict(type='OneView', transforms=crop_and_flip),
    dict(type='PackImage'),
]
test_image = [
    dict(type='LoadImage'),
    dict(type='CenterCrop'),
    dict(type='PackClip'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='MixtureSampler'),
    dataset=dict(
        type='ImageFolder',
        data_prefix='train',
        with_labels=True,
        pipeline=train_image,
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ImageFolder',
        data_prefix='val',
        with_labels=True,
        pipeline=test_image,
    ),
)
val_evaluator = dict(type='ClassAccuracy', topk=(1, 5))
val_cfg = dict()

test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict()
