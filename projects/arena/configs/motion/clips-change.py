# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE on clips that also reconstructs what changes between the two frames of a patch."""

_base_ = './clips.py'

model = dict(head=dict(reconstruction=dict(difference_weight=1.0)))
