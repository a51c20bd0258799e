# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""SimCLR on pairs of views and of frames: contrast alone, without a mask."""

_base_ = './vicmae.py'

model = dict(
    _delete_=True,
    type='SimCLR',
    data_preprocessor=dict(type='ViewPreprocessor'),
    backbone=dict(type='MaskedViT', num_frames=1, arch=_base_.arch),
    aggregator=dict(type='MeanPooling'),
    projector=dict(type='MLPHead', norm='SyncBN', **_base_.projector),
    contrastive=dict(type='InfoNCELoss', temperature=0.1),
)
custom_hooks = []  # without the ramp of the contrast
