# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE-ST: clips only, 0.9 of all patches masked."""

_base_ = [
    '../../../configs/_base_/models/maest_vit-base-p16.py',
    './_base_/clips.py',
    '../../../configs/_base_/default_runtime.py',
]

image_size = 48
patch_size = 8
num_frames = 8

model = dict(
    backbone=dict(arch=dict(embed_dims=192, num_layers=4, num_heads=3, feedforward_channels=768)),
    neck=dict(embed_dim=128, depth=2, num_heads=4),
)
default_hooks = dict(checkpoint=dict(interval=1))
train_dataloader = dict(dataset=dict(sources=dict(images=None)))
