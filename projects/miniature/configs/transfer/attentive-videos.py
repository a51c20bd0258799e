# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Attentive probe of the miniature's backbone on its clips: over the patches of each frame, then over frames.

python tools/train.py projects/miniature/configs/transfer/attentive-videos.py --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './linear-videos.py'

model = dict(
    aggregator=dict(type='AttentionPooling', num_heads=3),
    over_time=dict(type='AttentionOverTime', num_heads=3),
    head=dict(norm=None),
)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
