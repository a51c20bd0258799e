# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Fine-tunes the miniature's backbone on its images, 30 of each class at most, as MAE fine-tunes.

python tools/train.py projects/miniature/configs/transfer/finetune-images.py --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../../../configs/_base_/models/transfer_vit-base-p16.py',
    '../../../../configs/_base_/datasets/image-classes.py',
    '../../../../configs/_base_/schedules/adamw-layer-decay-coslr-100e.py',
    '../../../../configs/_base_/default_runtime.py',
]

data_root = '{{$REAL_MINI:../shared/data/real_mini}}/images'
num_classes = 100
image_size = 64
patch_size = 8

model = dict(
    data_preprocessor=dict(mixup_alpha=0.0, cutmix_alpha=0.0),  # too few steps for them
    backbone=dict(
        arch=dict(embed_dims=192, num_layers=6, num_heads=3, feedforward_channels=768),
        drop_path_rate=0.0,
    ),
    head=dict(init_std=0.01),
)

# Crops and flips alone.
train_image = [
    dict(type='LoadImage', lazy=True),
    dict(
        type='OneView',
        transforms=[
            dict(type='RandomResizedCrop', scale=(0.4, 1.0)),
            dict(type='RandomFlip'),
        ],
    ),
    dict(type='PackImage'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    dataset=dict(max_per_class=30, subset_seed=0, pipeline=train_image),
)
val_dataloader = dict(batch_size=64, num_workers=1)
test_dataloader = val_dataloader

optim_wrapper = dict(
    _delete_=True,
    constructor='TransferOptimWrapperConstructor',
    type='BFloat16OptimWrapper',  # on CPUs, too
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(layer_decay_rate=0.75, flat_decay_mult=0.0),
)
auto_scale_lr = dict(base_batch_size=64)
train_cfg = dict(max_epochs=8, val_interval=8)
param_scheduler = [
    dict(type='WarmupLR', share=1 / 8, by_epoch=False),
    dict(type='CosineLR', warmup_share=1 / 8, eta_min_ratio=1e-3, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=8))
