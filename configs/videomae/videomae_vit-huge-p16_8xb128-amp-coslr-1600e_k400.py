# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""VideoMAE, ViT-H/16, clips of Kinetics-400, 1600 epochs.

The decoder has the 12 layers of the released script. After fine-tuning, the authors report 86.6 on Kinetics-400. Not
run at this scale here.

    bash tools/dist_train.sh videomae_vit-huge-p16_8xb128-amp-coslr-1600e_k400 8
"""

_base_ = './videomae_vit-large-p16_8xb128-amp-coslr-1600e_k400.py'

model_size = 'huge'
model = dict(neck=dict(embed_dim=640))
