# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tuning on clips in seconds on a CPU: the debug run's backbone, its videos and their four classes.

Pretraining: python tools/train.py configs/vicmae/vicmae_vit-tiny-p8_debug.py

    python tools/train.py configs/vicmae/benchmarks/vicmae_vit-tiny-p8_finetune-video_debug.py \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_finetune_8xb16-amp-coslr-150e_k400.py'

demo_data = dict(root='data/demo-debug', preset='debug')

image_size = 64
patch_size = 8
num_frames = 4

model = dict(
    backbone=dict(
        arch=dict(embed_dims=64, num_layers=2, num_heads=2, feedforward_channels=128),
    ),
    head=dict(num_classes=4),
)

train_dataloader = _base_.train_dataloader
train_dataloader.update(batch_size=8, num_workers=1)
train_dataloader.dataset.data_root = 'data/demo-debug/videos/train'
train_dataloader.dataset.pipeline[1].update(frame_stride=2)
val_dataloader = _base_.val_dataloader
val_dataloader.update(batch_size=8, num_workers=1)
val_dataloader.dataset.data_root = 'data/demo-debug/videos/val'
val_dataloader.dataset.pipeline[1].update(frame_stride=2)
test_dataloader = _base_.test_dataloader
test_dataloader.update(batch_size=8, num_workers=1)
test_dataloader.dataset.data_root = 'data/demo-debug/videos/val'
test_dataloader.dataset.pipeline[1].update(num_clips=2, frame_stride=2)
val_evaluator = dict(topk=(1, 2))
test_evaluator = val_evaluator

auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(max_epochs=4, val_interval=2)
param_scheduler = [
    dict(type='WarmupLR', share=1 / 4, by_epoch=False),
    dict(
        type='CosineLR',
        warmup_share=1 / 4,
        eta_min_ratio=1e-6 / (2.4e-3 * 128 / 256),
        by_epoch=False,
    ),
]
default_hooks = dict(logger=dict(interval=3), checkpoint=dict(interval=2))
