# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE with 90 % of the patches masked."""

_base_ = '../vicmae.py'

model = dict(backbone=dict(masking=dict(mask_ratio=0.9)))
