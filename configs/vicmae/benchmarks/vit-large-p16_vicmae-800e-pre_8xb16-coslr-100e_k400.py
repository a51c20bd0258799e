# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-L/16 on Kinetics-400.

MAE-ST's recipe: 50 epochs of two clips of each video, and learning rates that fall less from layer to layer.
Expected: 86.8 with ImageNet-1K + Kinetics-400, 87.8 with the largest mixture (the paper). Not run at this scale here.

    bash tools/dist_train.sh vit-large-p16_vicmae-800e-pre_8xb16-coslr-100e_k400 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vit-base-p16_vicmae-800e-pre_8xb16-coslr-150e_k400.py'

model_size = 'large'
model = dict(backbone=dict(drop_path_rate=0.2))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
train_cfg = dict(max_epochs=100)
param_scheduler = [
    dict(type='WarmupLR', share=10 / 100, by_epoch=False),
    dict(
        type='CosineLR',
        warmup_share=10 / 100,
        eta_min_ratio=1e-6 / (2.4e-3 * 128 / 256),
        by_epoch=False,
    ),
]
