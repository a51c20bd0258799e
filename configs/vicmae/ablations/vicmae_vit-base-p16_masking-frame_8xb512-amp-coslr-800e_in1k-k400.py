# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the mask: whole frames of a clip; on single frames, which ViC-MAE encodes, it is random masking.

bash tools/dist_train.sh vicmae_vit-base-p16_masking-frame_8xb512-amp-coslr-800e_in1k-k400 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model = dict(backbone=dict(masking=dict(type='FrameMasking')))
