# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""0.7 of the reconstruction and 0.3 of the contrast."""

_base_ = './joint-0.03.py'

model = dict(head=dict(reconstruction_weight=0.7, contrastive_weight=0.3))
