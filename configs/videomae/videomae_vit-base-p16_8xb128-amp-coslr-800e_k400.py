# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""VideoMAE, ViT-B/16, clips of Kinetics-400 (https://arxiv.org/abs/2203.12602).

The paper's recipe for 1024 clips in a step. (The released script has 2048, and the learning rate scaled alike.) Crops
are random resized ones, in place of crops at four scales. After fine-tuning, the authors report 80.0 on Kinetics-400,
and 81.5 after 1600 epochs: `train_cfg.max_epochs=1600`. Not run at this scale here.

    bash tools/dist_train.sh videomae_vit-base-p16_8xb128-amp-coslr-800e_k400 8
"""

_base_ = [
    '../_base_/models/videomae_vit-base-p16.py',
    '../_base_/datasets/k400-clips.py',
    '../_base_/schedules/adamw-coslr-800e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=1.5e-4 * 1024 / 256))
auto_scale_lr = dict(base_batch_size=1024)
