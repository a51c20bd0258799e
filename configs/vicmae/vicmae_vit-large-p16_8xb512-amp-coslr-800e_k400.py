# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE, ViT-L/16, Kinetics-400 alone.

Expected of the paper after fine-tuning: 85.0 ImageNet-1K, 85.1 Kinetics-400, 59.5 Places365,
73.7 Something-Something v2. Not run at this scale here.

    bash tools/dist_train.sh vicmae_vit-large-p16_8xb512-amp-coslr-800e_k400 8
"""

_base_ = './vicmae_vit-base-p16_8xb512-amp-coslr-800e_k400.py'

model_size = 'large'
