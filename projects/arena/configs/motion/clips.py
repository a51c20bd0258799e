# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE on clips: a pair is two clips of a video or two views of an image; 0.75 of an image, 0.9 of a clip masked."""

_base_ = '../vicmae.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='MaskedViT',
        arch=_base_.arch,
        tubelet_size=2,
        masking=dict(
            type='ImageOrClipMasking',
            image=dict(type='RandomMasking', mask_ratio=0.75),
            clip=dict(type='RandomMasking', mask_ratio=0.9),
        ),
    ),
)
train_dataloader = dict(
    batch_size=64,
    batch_sampler=dict(type='OneSourceBatches'),
    dataset=dict(sources=dict(videos=dict(pipeline=_base_.clip_pair))),
)
auto_scale_lr = dict(base_batch_size=64)
