# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE whose target is an EMA of the encoder."""

_base_ = './vicmae.py'

model = dict(target=dict(_delete_=True, type='EMATarget'))
