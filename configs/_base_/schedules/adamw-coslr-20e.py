# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A short training of what stands behind a frozen backbone: AdamW, 20 epochs."""

optim_wrapper = dict(
    constructor='TransferOptimWrapperConstructor',
    type='AmpOptimWrapper',  # in bfloat16 where the GPU has it, else in float16
    loss_scale='dynamic',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.01),
    # No weight decay on vectors: norms, biases, queries.
    paramwise_cfg=dict(flat_decay_mult=0.0),
)

train_cfg = dict(type='EpochLoop', max_epochs=20, val_interval=5)
# Shares of the run: the schedule follows `train_cfg.max_epochs`.
param_scheduler = [
    dict(type='WarmupLR', share=0.1, by_epoch=False),
    dict(type='CosineLR', warmup_share=0.1, eta_min_ratio=1e-3, by_epoch=False),
]
custom_hooks = [dict(type='ClassFitHook')]  # labels mean the same in all sets
