# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""AdamW for two epochs of a debug run, 8 samples in a step."""

optim_wrapper = dict(
    constructor='CheckedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.05),
    # No weight decay on vectors: norms, biases, class and mask token.
    paramwise_cfg=dict(flat_decay_mult=0.0),
)
auto_scale_lr = dict(base_batch_size=8)

train_cfg = dict(type='EpochLoop', max_epochs=2, val_interval=2)
# Shares of the run: the schedule follows `train_cfg.max_epochs`.
param_scheduler = [
    dict(type='WarmupLR', share=0.5, start_factor=0.01, by_epoch=False),
    dict(type='CosineLR', warmup_share=0.5, by_epoch=False),
]
