# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Attentive probe of the miniature's backbone on its images: one learned query over the patches.

python tools/train.py projects/miniature/configs/transfer/attentive-images.py --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './linear-images.py'

model = dict(aggregator=dict(type='AttentionPooling', num_heads=3), head=dict(norm=None))
optim_wrapper = dict(optimizer=dict(lr=3e-3))
