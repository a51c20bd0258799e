# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE as the paper has it: mask 0.75, mean pooling, a predictor P and a target head T on shared encoder weights.

Where the paper is silent (temperature, final weight, widths of the heads) the official code's values stand.
"""

# Pipelines and model follow these: `--cfg-options image_size=96 patch_size=8 model_size=tiny`.
image_size = 224
patch_size = 16
model_size = 'base'

model = dict(
    type='ViCMAE',
    data_preprocessor=dict(type='ViewPreprocessor'),
    backbone=dict(
        type='MaskedViT',
        num_frames=1,
        masking=dict(type='RandomMasking', mask_ratio=0.75),
    ),
    neck=dict(type='MAEDecoder'),
    aggregator=dict(type='MeanPooling'),
    # SyncBN: batch norm over all ranks, so that a run means the same on any number of them.
    predictor=dict(type='MLPHead', norm='SyncBN'),
    target=dict(
        type='SharedTarget',
        head=dict(type='MLPHead', norm='SyncBN'),
    ),
    head=dict(
        type='ViCMAEHead',
        reconstruction=dict(type='PixelReconstructionLoss', norm_pix=True),
        contrastive=dict(type='InfoNCELoss', temperature=0.1),
        contrastive_weight=0.03,
    ),
)

# Reconstruction leads, contrast joins. The paper ramps, but doesn't say along which curve.
custom_hooks = [dict(type='LossWeightScheduleHook', unit='run', end=0.05)]
