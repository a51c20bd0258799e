# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tuning on clips in seconds on a CPU: the debug run's backbone, its videos and their four classes.

Pretraining: vicmae train vicmae_vit-tiny-p8_debug

    vicmae train vicmae_vit-tiny-p8_finetune-video_debug --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vit-base-p16_vicmae-800e-pre_8xb16-coslr-150e_k400.py'

demo_data = dict(root='data/demo-debug', preset='debug')
data_root = 'data/demo-debug/videos'
num_classes = 4
image_size = 64
patch_size = 8
num_frames = 4

model = dict(
    backbone=dict(
        arch=dict(embed_dims=64, num_layers=2, num_heads=2, feedforward_channels=128),
    ),
)
train_video = [
    dict(type='OpenVideo'),
    dict(type='DistantClips', num_segments=1, frame_stride=2),
    dict(type='DecodeFrames'),
    _base_.train_views,
    dict(type='PackClip'),
]
val_video = [
    dict(type='OpenVideo'),
    dict(type='UniformClips', num_clips=1, frame_stride=2),
    dict(type='DecodeFrames'),
    dict(type='SpatialCrops', num_crops=1),
    dict(type='PackClip'),
]
test_video = [
    dict(type='OpenVideo'),
    dict(type='UniformClips', num_clips=2, frame_stride=2),
    dict(type='DecodeFrames'),
    dict(type='SpatialCrops', num_crops=3),
    dict(type='PackClip'),
]
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_video))
val_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=val_video))
test_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=test_video))
val_evaluator = dict(topk=(1, 2))
test_evaluator = dict(topk=(1, 2))

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
