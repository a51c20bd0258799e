# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE on single images and frames."""

_base_ = './vicmae.py'

model = dict(
    _delete_=True,
    type='MAE',
    data_preprocessor=dict(type='ViewPreprocessor'),
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    reconstruction=dict(type='PixelReconstructionLoss', norm_pix=True),
    aggregator=dict(type='MeanPooling'),
)
custom_hooks = []  # without the ramp of the contrast
train_dataloader = dict(
    dataset=dict(
        sources=dict(
            images=dict(pipeline=_base_.one_image),
            videos=dict(pipeline=_base_.one_frame),
        ),
    ),
)
