# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE, ViT-H/14, ImageNet-1K and Kinetics-400.

The paper has no model of this size; the shape is the official code's. Not run at this scale here.

    bash tools/dist_train.sh configs/vicmae/vicmae_vit-huge-p14_8xb512-amp-coslr-800e_in1k-k400.py 8
"""

_base_ = './vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model_size = 'huge'
patch_size = 14
