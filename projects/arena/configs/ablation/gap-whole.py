# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE whose frames of a pair are from the halves of the whole video."""

_base_ = '../vicmae.py'

train_video = [
    dict(type='OpenVideo'),
    dict(type='DistantFramePair', window_seconds=None),
    *_base_.frame_pair[2:],
]
train_dataloader = dict(dataset=dict(sources=dict(videos=dict(pipeline=train_video))))
