# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""SimCLR, ViT-B/16, on images and pairs of frames: what ViC-MAE is without masks and reconstruction.

The loss is SimCLR's (https://arxiv.org/abs/2002.05709); learning rate, weight decay and 300 epochs are those with which
MoCo v3 (https://arxiv.org/abs/2104.02057) trains contrastive ViTs. Whole views go through the encoder: some four times
the work of ViC-MAE's. Not run at this scale here.

    bash tools/dist_train.sh configs/simclr/simclr_vit-base-p16_8xb512-amp-coslr-300e_in1k-k400.py 8
"""

_base_ = [
    '../_base_/models/simclr_vit-base-p16.py',
    '../_base_/datasets/in1k-k400.py',
    '../_base_/schedules/adamw-coslr-800e.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999), weight_decay=0.1))
train_cfg = dict(max_epochs=300)
param_scheduler = [
    dict(type='WarmupLR', share=40 / 300, by_epoch=False),
    dict(type='CosineLR', warmup_share=40 / 300, by_epoch=False),
]
