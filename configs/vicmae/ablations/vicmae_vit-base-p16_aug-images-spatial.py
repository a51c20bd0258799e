# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the augmentation: images are cropped and flipped, colours stay (paper: 66.03 of 67.66).

bash tools/dist_train.sh configs/vicmae/ablations/vicmae_vit-base-p16_aug-images-spatial.py 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

train_dataloader = _base_.train_dataloader
del train_dataloader.dataset.sources.images.pipeline[1].transforms[2:]
