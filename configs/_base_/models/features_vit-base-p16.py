# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A backbone whose features are compared as they are; `tools/test.py CONFIG CHECKPOINT` takes it of any checkpoint."""

model = dict(
    type='FrozenFeatures',
    data_preprocessor=dict(type='LabelledPreprocessor'),
    backbone=dict(type='MaskedViT', arch='base', img_size=224, patch_size=16),
    aggregator=dict(type='MeanPooling'),  # ClsPooling: of the class token
)
