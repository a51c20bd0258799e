# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE, ViT-B/16, ImageNet-1K and Kinetics-400, as the paper has it (https://arxiv.org/abs/2303.12001).

Expected of the paper after fine-tuning: 83.0 ImageNet-1K, 80.8 Kinetics-400. Not run at this scale here.

    bash tools/dist_train.sh configs/vicmae/vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py 8
"""

_base_ = [
    '../_base_/models/vicmae_vit-base-p16.py',
    '../_base_/datasets/in1k-k400.py',
    '../_base_/schedules/adamw-coslr-800e.py',
    '../_base_/default_runtime.py',
]
