# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the augmentation: frames get the colours of images besides crop and flip (not in the paper).

bash tools/dist_train.sh vicmae_vit-base-p16_aug-videos-both_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

video_views = dict(
    type='TwoViews', on_device=True, transforms=[*_base_.video_crop_and_flip, *_base_.color_changes]
)
train_video = [
    dict(type='OpenVideo'),
    _base_.frame_pair,
    dict(type='DecodeFrames'),
    video_views,
    dict(type='PackViews'),
]
train_dataloader = dict(dataset=dict(sources=dict(videos=dict(pipeline=train_video))))
