# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Attentive probe of videos in seconds on a CPU: over the patches of each frame, then over frames.

Pretraining: vicmae train vicmae_vit-tiny-p8_debug

    vicmae train vicmae_vit-tiny-p8_attentive-video_debug \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-tiny-p8_linear-video_debug.py'

model = dict(
    aggregator=dict(type='AttentionPooling', num_heads=2),
    over_time=dict(type='AttentionOverTime', num_heads=2),
    head=dict(norm=None),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
