# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Attentive probe of ViT-B/16 on ImageNet-1K: one learned query over the frozen patch tokens.

The recipe is ours, near that of V-JEPA (AdamW, 1e-3, 20 epochs), whose probe has a whole layer more: figures do not
compare. Not run at this scale here.

    bash tools/dist_train.sh configs/vicmae/benchmarks/vicmae_vit-base-p16_attentive_8xb128-amp-coslr-20e_in1k.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_finetune_8xb128-amp-coslr-100e_in1k.py'

model = dict(
    freeze_backbone=True,
    data_preprocessor=dict(mixup_alpha=0.0, cutmix_alpha=0.0),
    backbone=dict(drop_path_rate=0.0, final_norm=True),
    aggregator=dict(type='AttentionPooling', num_heads=12),
    head=dict(norm=None, init_std=0.01, loss=dict(label_smooth_val=0.0)),
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadImage', lazy=True),
            dict(
                type='OneView',
                transforms=[
                    dict(type='RandomResizedCrop', size=224, scale=(0.08, 1.0)),
                    dict(type='RandomFlip'),
                ],
            ),
            dict(type='PackImage'),
        ],
    ),
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, weight_decay=0.01),
    paramwise_cfg=dict(layer_decay_rate=1.0),
)
train_cfg = dict(max_epochs=20, val_interval=5)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=2)
param_scheduler[1].update(T_max=18, begin=2, end=20, eta_min_ratio=1e-3)
