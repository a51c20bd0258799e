# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""AdamW with MAE's settings, 800 epochs, for 4096 pairs in a step."""

optim_wrapper = dict(
    constructor='CheckedOptimWrapperConstructor',
    type='AmpOptimWrapper',  # in bfloat16 where the GPU has it, else in float16
    loss_scale='dynamic',
    optimizer=dict(
        type='AdamW',
        lr=1.5e-4 * 4096 / 256,
        betas=(0.9, 0.95),
        weight_decay=0.05,
    ),
    # No weight decay on vectors: norms, biases, class and mask token.
    paramwise_cfg=dict(flat_decay_mult=0.0),
)
auto_scale_lr = dict(base_batch_size=4096)

train_cfg = dict(type='EpochLoop', max_epochs=800, val_interval=50)
# Shares of the run: the schedule follows `train_cfg.max_epochs`.
param_scheduler = [
    dict(type='WarmupLR', share=0.05, by_epoch=False),
    dict(type='CosineLR', warmup_share=0.05, by_epoch=False),
]
