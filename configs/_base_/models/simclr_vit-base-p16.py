# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""SimCLR on a ViT: mean pooling, a projector of three layers, temperature 0.1."""

model = dict(
    type='SimCLR',
    data_preprocessor=dict(type='ViewPreprocessor'),
    backbone=dict(type='MaskedViT', arch='base', img_size=224, patch_size=16),
    aggregator=dict(type='MeanPooling'),
    projector=dict(type='MLPHead', hidden_dim=4096, out_dim=128, norm='SyncBN'),
    contrastive=dict(type='InfoNCELoss', temperature=0.1),
)
