# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Labelled images of ImageNet-1K and clips of Kinetics-400, mixed in each batch.

Class folders: data/imagenet/{train,val}/<class>/*, data/kinetics400/{train,val}/<class>/*. Images get the crops, flips,
RandAugment and random erasing of the clips.
"""

_base_ = './video-clips.py'

image_root = 'data/imagenet'
video_root = 'data/kinetics400'

train_image = [
    dict(type='LoadImage', lazy=True),
    dict(
        type='OneView',
        transforms=[_base_.random_crop, dict(type='RandomFlip'), _base_.rand_augment],
    ),
    dict(type='PackImage'),
]
test_image = [
    dict(type='LoadImage'),
    dict(type='CenterCrop'),
    dict(type='PackClip'),
]

train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        _delete_=True,
        type='MixedDataset',
        # An epoch has as many samples as both sources. `weights=dict(images=1, videos=1)` makes batches half and half.
        sources=dict(
            images=dict(
                type='ImageFolder',
                data_root=image_root,
                data_prefix='train',
                with_labels=True,
                pipeline=train_image,
            ),
            videos=dict(
                type='VideoFolder',
                data_root=video_root,
                data_prefix='train',
                with_labels=True,
                visits_per_opening=2,
                pipeline=_base_.train_video,
            ),
        ),
    ),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MixedDataset',
        sources=dict(
            images=dict(
                type='ImageFolder',
                data_root=image_root,
                data_prefix='val',
                with_labels=True,
                pipeline=test_image,
            ),
            videos=dict(
                type='VideoFolder',
                data_root=video_root,
                data_prefix='val',
                with_labels=True,
                pipeline=_base_.val_video,
            ),
        ),
    ),
)
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MixedDataset',
        sources=dict(
            images=dict(
                type='ImageFolder',
                data_root=image_root,
                data_prefix='val',
                with_labels=True,
                pipeline=test_image,
            ),
            videos=dict(
                type='VideoFolder',
                data_root=video_root,
                data_prefix='val',
                with_labels=True,
                pipeline=_base_.test_video,
            ),
        ),
    ),
)
