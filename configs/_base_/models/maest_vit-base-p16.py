# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE-ST as its paper has it: 0.9 of all patches masked, separable positions, one frame of each tubelet predicted."""

# Pipelines and model follow these: `--cfg-options image_size=96 patch_size=8 model_size=tiny`.
image_size = 224
patch_size = 16
model_size = 'base'

model = dict(
    type='MAEST',
    data_preprocessor=dict(type='ViewPreprocessor'),
    backbone=dict(
        type='MaskedViT',
        tubelet_size=2,
        pos_embed_type='separable',
        learn_pos_embed=True,
        repeat_cls_token=False,
        masking=dict(type='RandomMasking', mask_ratio=0.9),
    ),
    neck=dict(type='MAEDecoder', embed_dim=512, depth=4, num_heads=16, own_cls_token=True),
    reconstruction=dict(type='PixelReconstructionLoss', norm_pix=True),
    aggregator=dict(type='MeanPooling'),  # for evaluation
)
