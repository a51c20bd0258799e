# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tuning in seconds on a CPU: the debug run's backbone, its images and their four classes.

Pretraining: vicmae train vicmae_vit-tiny-p8_debug

    vicmae train vicmae_vit-tiny-p8_finetune_debug --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vit-base-p16_vicmae-800e-pre_8xb128-coslr-100e_in1k.py'

demo_data = dict(root='data/demo-debug', preset='debug')
data_root = 'data/demo-debug/images'
num_classes = 4
image_size = 64
patch_size = 8

model = dict(
    backbone=dict(
        arch=dict(embed_dims=64, num_layers=2, num_heads=2, feedforward_channels=128),
    ),
)
train_dataloader = dict(batch_size=8, num_workers=1)
val_dataloader = dict(batch_size=8, num_workers=1)
test_dataloader = dict(batch_size=8, num_workers=1)
val_evaluator = dict(topk=(1, 2))
test_evaluator = dict(topk=(1, 2))

auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(max_epochs=4, val_interval=2)
param_scheduler = [
    dict(type='WarmupLR', share=1 / 4, by_epoch=False),
    dict(
        type='CosineLR',
        warmup_share=1 / 4,
        eta_min_ratio=1e-6 / (5e-4 * 1024 / 256),
        by_epoch=False,
    ),
]
default_hooks = dict(logger=dict(interval=3), checkpoint=dict(interval=2))
