# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE on images only."""

_base_ = './mae.py'

train_dataloader = dict(dataset=dict(sources=dict(videos=None)))
