# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE that contrasts patches in place of whole views: each with the most similar one of the other view."""

_base_ = '../vicmae.py'

model = dict(contrast_patches=True)
