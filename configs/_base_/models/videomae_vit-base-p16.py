# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""VideoMAE as its paper has it: 0.9 masked in tubes, a decoder of 4 layers, each channel of a patch by itself."""

# Pipelines and model follow these: `--cfg-options image_size=96 patch_size=8 model_size=tiny`.
image_size = 224
patch_size = 16
model_size = 'base'

model = dict(
    type='VideoMAE',
    data_preprocessor=dict(type='ViewPreprocessor'),
    backbone=dict(
        type='MaskedViT',
        tubelet_size=2,
        pos_embed_type='sinusoid',
        with_cls_token=False,
        masking=dict(type='TubeMasking', mask_ratio=0.9),
    ),
    neck=dict(type='MAEDecoder', embed_dim=384, depth=4, num_heads=6),
    reconstruction=dict(type='PixelReconstructionLoss', norm_pix='channel'),
    aggregator=dict(type='MeanPooling'),  # for evaluation
)
