# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE in seconds on a CPU: the debug run of ViC-MAE, with another algorithm.

python tools/train.py configs/mae/mae_vit-tiny-p8_debug.py
"""

_base_ = '../vicmae/vicmae_vit-tiny-p8_debug.py'

model = dict(
    _delete_=True,
    type='MAE',
    data_preprocessor=dict(type='ViewPreprocessor'),
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    reconstruction=dict(type='PixelReconstructionLoss'),
    aggregator=dict(type='MeanPooling'),
)
train_dataloader = _base_.train_dataloader
train_dataloader.dataset.sources.images.pipeline[1].type = 'OneView'
train_dataloader.dataset.sources.videos.pipeline[1] = dict(type='SameFramePair')
train_dataloader.dataset.sources.videos.pipeline[3].type = 'OneView'
custom_hooks = []  # without ViC-MAE's
