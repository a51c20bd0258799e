# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Prediction of an EMA encoder's tokens, instead of pixels, on images and clips, close to V-JEPA."""

_base_ = './motion/clips.py'

model = dict(
    backbone=dict(
        with_cls_token=False,
        masking=dict(
            image=dict(_delete_=True, type='BlockMasking', mask_ratio=0.75),
            clip=dict(_delete_=True, type='BlockMasking', mask_ratio=0.9),
        ),
    ),
    predictor=None,
    target=None,
    head=dict(
        reconstruction=dict(_delete_=True, type='LatentPredictionLoss', momentum=0.99),
        contrastive=None,
    ),
)
custom_hooks = []  # without contrast
train_dataloader = dict(
    dataset=dict(
        sources=dict(
            images=dict(pipeline=_base_.one_image),
            videos=dict(pipeline=_base_.one_clip),
        ),
    ),
)
