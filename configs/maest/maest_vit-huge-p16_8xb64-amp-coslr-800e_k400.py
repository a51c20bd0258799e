# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE-ST, ViT-H/16, clips of Kinetics-400.

Patches have 16 x 16 pixels, as in the paper. (The released code has `huge_patch14` in names.) After fine-tuning, the
authors report 85.1 on Kinetics-400 for 1600 epochs: `train_cfg.max_epochs=1600`. Not run at this scale here.

    bash tools/dist_train.sh maest_vit-huge-p16_8xb64-amp-coslr-800e_k400 8
"""

_base_ = './maest_vit-base-p16_8xb64-amp-coslr-800e_k400.py'

model_size = 'huge'
