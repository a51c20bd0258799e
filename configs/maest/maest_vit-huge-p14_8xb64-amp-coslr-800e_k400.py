# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE-ST, ViT-H/14, clips of Kinetics-400.

After fine-tuning, the authors report 85.1 on Kinetics-400. Not run at this scale here.

    bash tools/dist_train.sh maest_vit-huge-p14_8xb64-amp-coslr-800e_k400 8
"""

_base_ = './maest_vit-base-p16_8xb64-amp-coslr-800e_k400.py'

model_size = 'huge'
patch_size = 14
