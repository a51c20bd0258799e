# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE as its paper has it: mask 0.75, a decoder of 8 layers, each patch normalised by itself."""

model = dict(
    type='MAE',
    data_preprocessor=dict(type='ViewPreprocessor'),
    backbone=dict(
        type='MaskedViT',
        arch='base',
        img_size=224,
        patch_size=16,
        masking=dict(type='RandomMasking', mask_ratio=0.75),
    ),
    neck=dict(type='MAEDecoder', embed_dim=512, depth=8, num_heads=16),
    reconstruction=dict(type='PixelReconstructionLoss', norm_pix=True),
    aggregator=dict(type='MeanPooling'),  # for evaluation
)
