# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Every step of a run in seconds on a CPU: images and videos together, two epochs, kNN on both.

python tools/train.py configs/vicmae/vicmae_vit-tiny-p8_debug.py
bash tools/dist_train.sh configs/vicmae/vicmae_vit-tiny-p8_debug.py 2
"""

_base_ = './vicmae_vit-tiny-p8_demo.py'

demo_data = dict(root='data/demo-debug', preset='debug')

model = dict(
    backbone=dict(
        arch=dict(embed_dims=64, num_layers=2, num_heads=2, feedforward_channels=128),
    ),
    neck=dict(embed_dim=32, depth=1, num_heads=2),
    predictor=dict(hidden_dim=64, out_dim=32),
    target=dict(head=dict(hidden_dim=64, out_dim=32)),
)

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(samples_per_epoch=64),
    dataset=dict(
        sources=dict(
            images=dict(data_root='data/demo-debug/images/train'),
            videos=dict(data_root='data/demo-debug/videos/train'),
        )
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        sources=dict(
            image_bank=dict(data_root='data/demo-debug/images/train'),
            image_query=dict(data_root='data/demo-debug/images/val'),
            video_bank=dict(data_root='data/demo-debug/videos/train'),
            video_query=dict(data_root='data/demo-debug/videos/val'),
        )
    ),
)
test_dataloader = val_dataloader

auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(max_epochs=2, val_interval=2)
param_scheduler = [
    dict(type='WarmupLR', share=0.5, start_factor=0.01, by_epoch=False),
    dict(type='CosineLR', warmup_share=0.5, by_epoch=False),
]
custom_hooks = [dict(type='LossWeightScheduleHook', unit='run', end=0.5)]
default_hooks = dict(
    logger=dict(interval=4),
    checkpoint=dict(by_epoch=False, interval=4),
)
