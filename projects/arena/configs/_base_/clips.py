# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Clips in place of frames, one kind of data in each step, for methods that encode clips."""

_base_ = './data.py'

train_dataloader = dict(
    batch_size=64,
    batch_sampler=dict(type='OneSourceBatches'),
    dataset=dict(
        sources=dict(
            images=dict(pipeline=_base_.one_image),
            videos=dict(pipeline=_base_.one_clip),
        ),
    ),
)
auto_scale_lr = dict(base_batch_size=64)
