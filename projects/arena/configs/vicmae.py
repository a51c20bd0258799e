# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE on images and videos, as the paper has it: 4 layers of 192 on 48 pixels, a decoder of 2 layers of 128."""

_base_ = [
    '../../../configs/_base_/models/vicmae_vit-base-p16.py',
    './_base_/data.py',
    '../../../configs/_base_/default_runtime.py',
]

image_size = 48
patch_size = 8
num_frames = 8  # of clips

arch = dict(embed_dims=192, num_layers=4, num_heads=3, feedforward_channels=768)
decoder = dict(embed_dim=128, depth=2, num_heads=4)
projector = dict(hidden_dim=512, out_dim=128)

model = dict(
    backbone=dict(arch=arch),
    neck=decoder,
    predictor=projector,
    target=dict(head=projector),
)
default_hooks = dict(checkpoint=dict(interval=1))
