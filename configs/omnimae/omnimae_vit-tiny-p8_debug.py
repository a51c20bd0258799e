# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""OmniMAE in seconds on a CPU: images and clips that are drawn on the spot, two epochs, kNN on both.

vicmae train omnimae_vit-tiny-p8_debug
"""

_base_ = [
    '../_base_/models/omnimae_vit-base-p16.py',
    '../_base_/datasets/demo-clips.py',
    '../_base_/schedules/adamw-coslr-2e.py',
    '../_base_/default_runtime.py',
]

image_size = 64
patch_size = 8

model = dict(
    backbone=dict(
        arch=dict(embed_dims=64, num_layers=2, num_heads=2, feedforward_channels=128),
    ),
    neck=dict(embed_dim=32, depth=1, num_heads=2),
)
default_hooks = dict(
    logger=dict(interval=4),
    checkpoint=dict(by_epoch=False, interval=4),
)
