# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE whose pair of a video is one frame."""

_base_ = '../vicmae.py'

train_video = [
    dict(type='OpenVideo'),
    dict(type='SameFramePair'),
    *_base_.frame_pair[2:],
]
train_dataloader = dict(dataset=dict(sources=dict(videos=dict(pipeline=train_video))))
