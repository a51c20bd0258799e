# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the frame gap: always 2 frames apart.

bash tools/dist_train.sh vicmae_vit-base-p16_gap-fixed2_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

train_video = [
    dict(type='OpenVideo'),
    dict(type='FixedGapFramePair', gap=2),
    dict(type='DecodeFrames'),
    _base_.video_views,
    dict(type='PackViews'),
]
train_dataloader = dict(dataset=dict(sources=dict(videos=dict(pipeline=train_video))))
