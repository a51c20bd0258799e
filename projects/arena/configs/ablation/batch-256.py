# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE with 256 pairs in a step, with the learning rate of 128."""

_base_ = '../vicmae.py'

train_dataloader = dict(batch_size=256)
auto_scale_lr = dict(base_batch_size=256)
