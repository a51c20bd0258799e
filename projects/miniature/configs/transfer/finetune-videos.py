# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Fine-tunes the miniature's backbone on its clips: inflated along time, 8 frames in tubelets of 2.

python tools/train.py projects/miniature/configs/transfer/finetune-videos.py --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './finetune-images.py'

data_root = '{{$REAL_MINI:../shared/data/real_mini}}/videos'
num_classes = 8
num_frames = 8

model = dict(
    backbone=dict(tubelet_size=2),
    head=dict(loss=dict(label_smooth_val=0.0)),
)

train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        _delete_=True,
        type='VideoFolder',
        data_prefix='train',
        with_labels=True,
        visits_per_opening=2,
        pipeline=[
            dict(type='OpenVideo'),
            dict(type='SegmentFrames'),
            dict(type='DecodeFrames'),
            dict(
                type='ClipView',
                transforms=[
                    dict(type='RandomResizedCrop', scale=(0.7, 1.0)),
                    dict(type='RandomFlip'),
                ],
            ),
            dict(type='PackClip'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=32,
    dataset=dict(
        _delete_=True,
        type='VideoFolder',
        data_prefix='val',
        with_labels=True,
        pipeline=[
            dict(type='OpenVideo'),
            dict(type='UniformFrames', num_clips=2),
            dict(type='DecodeFrames'),
            dict(type='SpatialCrops', num_crops=3),
            dict(type='PackClip'),
        ],
    ),
)
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=2e-3), paramwise_cfg=dict(layer_decay_rate=0.85))
auto_scale_lr = dict(base_batch_size=16)
train_cfg = dict(max_epochs=16, val_interval=16)
param_scheduler = [
    dict(type='WarmupLR', share=2 / 16, by_epoch=False),
    dict(type='CosineLR', warmup_share=2 / 16, eta_min_ratio=1e-3, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=14), checkpoint=dict(interval=16))
