# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A backbone whose features are compared as they are; `tools/test.py CONFIG CHECKPOINT` takes it of any checkpoint."""

# Pipelines and model follow these: `--cfg-options image_size=96 patch_size=8 model_size=tiny`.
image_size = 224
patch_size = 16
model_size = 'base'

model = dict(
    type='FrozenFeatures',
    data_preprocessor=dict(type='LabelledPreprocessor'),
    backbone=dict(type='MaskedViT', num_frames=1),
    aggregator=dict(type='MeanPooling'),  # ClsPooling: of the class token
)
