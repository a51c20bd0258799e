# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE whose predictor knows the time between the two frames, so that the embedding may keep it."""

_base_ = '../vicmae.py'

times = dict(type='PackViews', with_times=True)
model = dict(
    predictor=dict(
        _delete_=True,
        type='TimedPredictor',
        predictor=dict(type='MLPHead', norm='SyncBN', **_base_.projector),
    ),
)
train_dataloader = dict(
    dataset=dict(
        sources=dict(
            images=dict(pipeline=[*_base_.image_pair[:-1], times]),
            videos=dict(pipeline=[*_base_.frame_pair[:-1], times]),
        ),
    ),
)
