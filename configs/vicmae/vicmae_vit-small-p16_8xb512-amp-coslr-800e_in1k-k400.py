# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE, ViT-S/16, ImageNet-1K and Kinetics-400.

The paper has no model of this size. The decoder is the official code's for it; the heads are half as wide as for
ViT-B. Not run at this scale here.

    bash tools/dist_train.sh configs/vicmae/vicmae_vit-small-p16_8xb512-amp-coslr-800e_in1k-k400.py 8
"""

_base_ = './vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model_size = 'small'
