# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Linear probe of the miniature's backbone on its images, trained through augmentation as MAE's.

python tools/train.py projects/miniature/configs/transfer/linear-images.py --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './finetune-images.py'

model = dict(
    freeze_backbone=True,
    backbone=dict(final_norm=True),
    head=dict(norm='SyncBN', loss=dict(label_smooth_val=0.0)),
)
optim_wrapper = dict(
    optimizer=dict(lr=5e-3, weight_decay=0.01), paramwise_cfg=dict(layer_decay_rate=1.0)
)
