# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The reconstruction alone: MAE on both views."""

_base_ = './joint-0.03.py'

model = dict(head=dict(contrastive=None, reconstruction_weight=1.0))
