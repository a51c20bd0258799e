# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE, ViT-L/16, Moments in Time alone.

Expected of the paper after fine-tuning: 85.3 ImageNet-1K, 84.9 Kinetics-400, 59.7 Places365,
73.8 Something-Something v2. Not run at this scale here.

    bash tools/dist_train.sh vicmae_vit-large-p16_8xb512-amp-coslr-800e_mit 8
"""

_base_ = './vicmae_vit-base-p16_8xb512-amp-coslr-800e_mit.py'

model_size = 'large'
