# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE on images only."""

_base_ = './vicmae.py'

train_dataloader = dict(dataset=dict(sources=dict(videos=None)))
