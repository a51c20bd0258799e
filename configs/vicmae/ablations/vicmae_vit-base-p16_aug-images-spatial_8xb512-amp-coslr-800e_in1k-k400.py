# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the augmentation: images are cropped and flipped, colours stay (paper: 66.03 of 67.66).

bash tools/dist_train.sh vicmae_vit-base-p16_aug-images-spatial_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

image_views = dict(type='TwoViews', on_device=True, transforms=_base_.image_crop_and_flip)
train_image = [dict(type='LoadImage', lazy=True), image_views, dict(type='PackViews')]
train_dataloader = dict(dataset=dict(sources=dict(images=dict(pipeline=train_image))))
