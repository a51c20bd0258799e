# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Linear probe of the miniature's backbone on its clips: the mean of the features of 8 frames.

python tools/train.py projects/miniature/configs/transfer/linear-videos.py --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './finetune-videos.py'

model = dict(
    freeze_backbone=True,
    over_time=dict(type='MeanOverTime'),
    backbone=dict(num_frames=1, tubelet_size=1, final_norm=True),
    head=dict(norm='SyncBN'),
)
optim_wrapper = dict(
    optimizer=dict(lr=5e-3, weight_decay=0.01), paramwise_cfg=dict(layer_decay_rate=1.0)
)
train_cfg = dict(max_epochs=48, val_interval=48)
param_scheduler = [
    dict(type='WarmupLR', share=4 / 48, by_epoch=False),
    dict(type='CosineLR', warmup_share=4 / 48, eta_min_ratio=1e-3, by_epoch=False),
]
