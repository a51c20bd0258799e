# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE whose frames of a pair are 0.2 s apart."""

_base_ = '../vicmae.py'

train_video = [
    dict(type='OpenVideo'),
    dict(type='FixedGapFramePair', gap=0.2, unit='second'),
    *_base_.frame_pair[2:],
]
train_dataloader = dict(dataset=dict(sources=dict(videos=dict(pipeline=train_video))))
