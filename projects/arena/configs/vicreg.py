# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE with VICReg in place of negatives."""

_base_ = './vicmae.py'

model = dict(head=dict(contrastive=dict(_delete_=True, type='VICRegLoss')))
