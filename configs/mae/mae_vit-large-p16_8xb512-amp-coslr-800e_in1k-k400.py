# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE, ViT-L/16, on images and single frames.

Expected of the paper after fine-tuning, pretrained on ImageNet-1K alone: 85.9. Not run at this scale here.

    bash tools/dist_train.sh configs/mae/mae_vit-large-p16_8xb512-amp-coslr-800e_in1k-k400.py 8
"""

_base_ = './mae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model_size = 'large'
