# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Attentive probe in seconds on a CPU.

Pretraining: vicmae train vicmae_vit-tiny-p8_debug

    vicmae train vicmae_vit-tiny-p8_attentive_debug --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-tiny-p8_finetune_debug.py'

model = dict(
    freeze_backbone=True,
    data_preprocessor=dict(mixup_alpha=0.0, cutmix_alpha=0.0),
    backbone=dict(drop_path_rate=0.0, final_norm=True),
    aggregator=dict(type='AttentionPooling', num_heads=2),
    head=dict(norm=None, init_std=0.01, loss=dict(label_smooth_val=0.0)),
)
train_dataloader = dict(dataset=dict(pipeline=_base_.probe_image))
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay_rate=1.0))
