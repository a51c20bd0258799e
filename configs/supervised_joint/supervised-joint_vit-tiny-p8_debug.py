# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""One small ViT for images and videos of four classes each, in seconds on a CPU.

    vicmae train supervised-joint_vit-tiny-p8_debug

Batches of one kind: `--cfg-options train_dataloader.batch_sampler.type=OneSourceBatches`.
"""

_base_ = './supervised-joint_vit-base-p16_8xb64-coslr-100e_in1k-k400.py'

demo_data = dict(root='data/demo-debug', preset='debug')
image_size = 64
patch_size = 8
num_frames = 4

model = dict(
    backbone=dict(
        arch=dict(embed_dims=64, num_layers=2, num_heads=2, feedforward_channels=128),
    ),
    heads=dict(images=dict(num_classes=4), videos=dict(num_classes=4)),
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
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(samples_per_epoch=64),
    dataset=dict(
        sources=dict(
            images=dict(data_root='data/demo-debug/images'),
            videos=dict(data_root='data/demo-debug/videos', pipeline=train_video),
        )
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        sources=dict(
            images=dict(data_root='data/demo-debug/images'),
            videos=dict(data_root='data/demo-debug/videos', pipeline=val_video),
        )
    ),
)
test_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        sources=dict(
            images=dict(data_root='data/demo-debug/images'),
            videos=dict(data_root='data/demo-debug/videos', pipeline=test_video),
        )
    ),
)
val_evaluator = dict(topk=(1, 2))
test_evaluator = dict(topk=(1, 2))

auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(max_epochs=2, val_interval=2)
param_scheduler = [
    dict(type='WarmupLR', share=0.25, by_epoch=False),
    dict(
        type='CosineLR',
        warmup_share=0.25,
        eta_min_ratio=1e-6 / (5e-4 * 512 / 256),
        by_epoch=False,
    ),
]
default_hooks = dict(logger=dict(interval=4), checkpoint=dict(interval=1))
