# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The contrast alone, of masked views."""

_base_ = './joint-0.03.py'

model = dict(head=dict(reconstruction=None, contrastive_weight=1.0))
