# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE, ViT-L/16, ImageNet-1K and Kinetics-400.

Expected of the paper after fine-tuning: 86.0 ImageNet-1K, 86.8 Kinetics-400. Not run at this scale here.

    bash tools/dist_train.sh configs/vicmae/vicmae_vit-large-p16_8xb512-amp-coslr-800e_in1k-k400.py 8
"""

_base_ = './vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model_size = 'large'
