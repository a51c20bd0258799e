# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe in seconds on a CPU.

Pretraining: vicmae train vicmae_vit-tiny-p8_debug

    vicmae train vicmae_vit-tiny-p8_linear_debug --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-tiny-p8_finetune_debug.py'

model = dict(
    freeze_backbone=True,
    data_preprocessor=dict(mixup_alpha=0.0, cutmix_alpha=0.0),
    backbone=dict(drop_path_rate=0.0, final_norm=True),
    head=dict(norm='SyncBN', init_std=0.01, loss=dict(label_smooth_val=0.0)),
)
train_dataloader = dict(dataset=dict(pipeline=_base_.probe_image))
optim_wrapper = dict(
    # So few steps that the usual `eta` of 0.001 would move nothing.
    optimizer=dict(_delete_=True, type='mmpretrain.LARS', lr=0.1, eta=0.2, momentum=0.9),
    paramwise_cfg=dict(_delete_=True, custom_keys={'head.fc.bias': dict(lars_exclude=True)}),
)
