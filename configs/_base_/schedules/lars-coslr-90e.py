# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE's linear probe: LARS without weight decay, 90 epochs, for 16384 images in a step."""

optim_wrapper = dict(
    constructor='TransferOptimWrapperConstructor',
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    optimizer=dict(type='mmpretrain.LARS', lr=0.1 * 16384 / 256, momentum=0.9, weight_decay=0.0),
    # LARS scales the learning rate of a weight by its norm; a bias is left out.
    paramwise_cfg=dict(custom_keys={'head.fc.bias': dict(lars_exclude=True)}),
)
auto_scale_lr = dict(base_batch_size=16384)

train_cfg = dict(type='EpochLoop', max_epochs=90, val_interval=10)
# Shares of the run: the schedule follows `train_cfg.max_epochs`.
param_scheduler = [
    dict(type='WarmupLR', share=1 / 9, by_epoch=False),
    dict(type='CosineLR', warmup_share=1 / 9, by_epoch=False),
]
custom_hooks = [dict(type='ClassFitHook')]
