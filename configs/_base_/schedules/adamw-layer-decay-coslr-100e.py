# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE's fine-tuning: AdamW, learning rates that fall from head to input, 100 epochs, for 1024 images in a step."""

optim_wrapper = dict(
    constructor='TransferOptimWrapperConstructor',
    type='AmpOptimWrapper',  # in bfloat16 where the GPU has it, else in float16
    loss_scale='dynamic',
    optimizer=dict(
        type='AdamW',
        lr=5e-4 * 1024 / 256,
        betas=(0.9, 0.999),
        weight_decay=0.05,
    ),
    # No weight decay on vectors: norms, biases, class token.
    paramwise_cfg=dict(layer_decay_rate=0.65, flat_decay_mult=0.0),
)
auto_scale_lr = dict(base_batch_size=1024)

train_cfg = dict(type='EpochLoop', max_epochs=100, val_interval=10)
# Shares of the run: the schedule follows `train_cfg.max_epochs`.
param_scheduler = [
    dict(type='WarmupLR', share=0.05, by_epoch=False),
    dict(
        type='CosineLR',
        warmup_share=0.05,
        # A share: each layer ends at its own 1e-6.
        eta_min_ratio=1e-6 / (5e-4 * 1024 / 256),
        by_epoch=False,
    ),
]
custom_hooks = [dict(type='ClassFitHook')]  # labels mean the same in all sets
