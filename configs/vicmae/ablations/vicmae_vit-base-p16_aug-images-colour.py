# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the augmentation: images change colours, never the crop (paper: 65.40 of 67.66).

bash tools/dist_train.sh configs/vicmae/ablations/vicmae_vit-base-p16_aug-images-colour.py 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

train_dataloader = _base_.train_dataloader
train_dataloader.dataset.sources.images.pipeline[1].transforms = [
    dict(type='RandomResizedCrop', scale=(1, 1), ratio=(1, 1)),  # the middle, always
    *train_dataloader.dataset.sources.images.pipeline[1].transforms[2:],
]
