# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE as its paper has it: mask 0.75, a decoder of 8 layers, each patch normalised by itself."""

# Pipelines and model follow these: `--cfg-options image_size=96 patch_size=8 model_size=tiny`.
image_size = 224
patch_size = 16
model_size = 'base'

model = dict(
    type='MAE',
    data_preprocessor=dict(type='ViewPreprocessor'),
    backbone=dict(
        type='MaskedViT',
        num_frames=1,
        masking=dict(type='RandomMasking', mask_ratio=0.75),
    ),
    neck=dict(type='MAEDecoder'),
    reconstruction=dict(type='PixelReconstructionLoss', norm_pix=True),
    aggregator=dict(type='MeanPooling'),  # for evaluation
)
