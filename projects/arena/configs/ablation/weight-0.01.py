# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE with a contrastive weight of 0.01 in place of 0.03."""

_base_ = '../vicmae.py'

model = dict(head=dict(contrastive_weight=0.01))
