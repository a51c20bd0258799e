# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE's fine-tuning of larger models: twice the learning rate, which falls less from layer to layer, 50 epochs."""

_base_ = './adamw-layer-decay-coslr-100e.py'

optim_wrapper = dict(
    optimizer=dict(lr=1e-3 * 1024 / 256),
    paramwise_cfg=dict(layer_decay_rate=0.75),
)
train_cfg = dict(max_epochs=50)
param_scheduler = [
    dict(type='WarmupLR', share=5 / 50, by_epoch=False),
    dict(
        type='CosineLR',
        warmup_share=5 / 50,
        eta_min_ratio=1e-6 / (1e-3 * 1024 / 256),
        by_epoch=False,
    ),
]
