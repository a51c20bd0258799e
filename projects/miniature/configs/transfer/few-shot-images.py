# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Linear probe of the miniature's backbone with five images of each class.

python tools/train.py projects/miniature/configs/transfer/few-shot-images.py --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './linear-images.py'

train_dataloader = dict(dataset=dict(max_per_class=5))
train_cfg = dict(max_epochs=16, val_interval=16)
param_scheduler = [
    dict(type='WarmupLR', share=1 / 16, by_epoch=False),
    dict(type='CosineLR', warmup_share=1 / 16, eta_min_ratio=1e-3, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=5), checkpoint=dict(interval=16))
