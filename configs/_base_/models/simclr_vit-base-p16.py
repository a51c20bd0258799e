# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""SimCLR on a ViT: mean pooling, a projector of three layers, temperature 0.1."""

# Pipelines and model follow these: `--cfg-options image_size=96 patch_size=8 model_size=tiny`.
image_size = 224
patch_size = 16
model_size = 'base'

model = dict(
    type='SimCLR',
    data_preprocessor=dict(type='ViewPreprocessor'),
    backbone=dict(type='MaskedViT', num_frames=1),
    aggregator=dict(type='MeanPooling'),
    projector=dict(type='MLPHead', norm='SyncBN'),
    contrastive=dict(type='InfoNCELoss', temperature=0.1),
)
