# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""VideoMAE, ViT-L/16, clips of Kinetics-400, 1600 epochs.

The decoder has the 12 layers of the released script. After fine-tuning, the authors report 85.2 on Kinetics-400. Not
run at this scale here.

    bash tools/dist_train.sh videomae_vit-large-p16_8xb128-amp-coslr-1600e_k400 8
"""

_base_ = './videomae_vit-base-p16_8xb128-amp-coslr-800e_k400.py'

model_size = 'large'
model = dict(neck=dict(embed_dim=512, depth=12, num_heads=8))
train_cfg = dict(max_epochs=1600)
param_scheduler = [
    dict(type='WarmupLR', share=40 / 1600, by_epoch=False),
    dict(type='CosineLR', warmup_share=40 / 1600, by_epoch=False),
]
