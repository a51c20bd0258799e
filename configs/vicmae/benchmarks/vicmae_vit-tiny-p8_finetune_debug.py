# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tuning in seconds on a CPU: the debug run's backbone, its images and their four classes.

Pretraining: python tools/train.py configs/vicmae/vicmae_vit-tiny-p8_debug.py

    python tools/train.py configs/vicmae/benchmarks/vicmae_vit-tiny-p8_finetune_debug.py \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_finetune_8xb128-amp-coslr-100e_in1k.py'

demo_data = dict(root='data/demo-debug', preset='debug')

image_size = 64
patch_size = 8

model = dict(
    backbone=dict(
        arch=dict(embed_dims=64, num_layers=2, num_heads=2, feedforward_channels=128),
    ),
    head=dict(num_classes=4),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(data_root='data/demo-debug/images/train'),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(data_root='data/demo-debug/images/val'),
)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1, 2))
test_evaluator = val_evaluator

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
