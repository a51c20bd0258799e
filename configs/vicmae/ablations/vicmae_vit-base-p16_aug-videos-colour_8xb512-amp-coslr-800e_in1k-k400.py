# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the augmentation: frames change colours, never the crop (not in the paper).

bash tools/dist_train.sh vicmae_vit-base-p16_aug-videos-colour_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

# The middle, always.
crop = dict(type='RandomResizedCrop', scale=(1, 1), ratio=(1, 1))
video_views = dict(type='TwoViews', on_device=True, transforms=[crop, *_base_.color_changes])
train_video = [
    dict(type='OpenVideo'),
    _base_.frame_pair,
    dict(type='DecodeFrames'),
    video_views,
    dict(type='PackViews'),
]
train_dataloader = dict(dataset=dict(sources=dict(videos=dict(pipeline=train_video))))
