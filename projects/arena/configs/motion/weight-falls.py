# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE whose contrastive weight falls to 0 in the last third."""

_base_ = '../vicmae.py'

custom_hooks = [
    dict(
        type='LossWeightScheduleHook',
        unit='run',
        begin=2 / 3,
        end=1.0,
        start_value=0.03,
        end_value=0.0,
    ),
]
