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
train_image = [
    dict(type='LoadImage'),
    dict(type='OneView', transforms=[*_base_.image_crop_and_flip, *_base_.color_changes]),
    dict(type='PackViews'),
]
train_video = [
    dict(type='OpenVideo'),
    dict(type='SameFramePair'),  # decodes one frame
    dict(type='DecodeFrames'),
    dict(type='OneView', transforms=_base_.video_crop_and_flip),
    dict(type='PackViews'),
]
train_dataloader = dict(
    dataset=dict(
        sources=dict(
            images=dict(pipeline=train_image),
            videos=dict(pipeline=train_video),
        )
    )
)
custom_hooks = []  # without ViC-MAE's
