# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE, ViT-L/16, the paper's largest mixture: ImageNet-1K, Kinetics-400, 600, 700 and Moments in Time.

The paper's best model. Expected of the paper after fine-tuning: 87.1 ImageNet-1K, 87.8 Kinetics-400, 60.7 Places365,
75.9 Something-Something v2. Not run at this scale here.

    bash tools/dist_train.sh vicmae_vit-large-p16_8xb512-amp-coslr-800e_in1k-k400-k600-k700-mit 8
"""

_base_ = './vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400-k600-k700-mit.py'

model_size = 'large'
