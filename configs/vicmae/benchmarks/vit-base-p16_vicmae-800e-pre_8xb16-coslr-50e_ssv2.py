# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-B/16 on Something-Something v2.

One frame from each sixteenth of the video, and no flips: its classes know left from right. Learning rates (5e-4 for 256
clips, less by 0.75 from layer to layer), epochs and no dropout are VideoMAE's; in tests 2 clips x 3 crops. Expected:
69.5 with ImageNet-1K + Kinetics-400, 69.8 with the largest mixture (the paper). Not run at this scale here.

    bash tools/dist_train.sh vit-base-p16_vicmae-800e-pre_8xb16-coslr-50e_ssv2 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../_base_/models/transfer_vit-base-p16.py',
    '../../_base_/datasets/video-clips.py',
    '../../_base_/datasets/ssv2.py',
    '../../_base_/schedules/adamw-layer-decay-coslr-100e.py',
    '../../_base_/default_runtime.py',
]

model = dict(backbone=dict(tubelet_size=2))

train_dataloader = dict(
    dataset=dict(
        ann_file='train.txt',
        pipeline=[
            dict(type='OpenVideo'),
            dict(type='SegmentFrames'),
            dict(type='DecodeFrames'),
            dict(type='ClipView', transforms=[_base_.random_crop, _base_.rand_augment]),
            dict(type='PackClip'),
        ],
    ),
)
val_dataloader = dict(
    dataset=dict(
        ann_file='val.txt',
        pipeline=[
            dict(type='OpenVideo'),
            dict(type='UniformFrames'),
            dict(type='DecodeFrames'),
            dict(type='SpatialCrops', num_crops=1),
            dict(type='PackClip'),
        ],
    ),
)
test_dataloader = dict(
    dataset=dict(
        ann_file='val.txt',
        pipeline=[
            dict(type='OpenVideo'),
            dict(type='UniformFrames', num_clips=2),
            dict(type='DecodeFrames'),
            dict(type='SpatialCrops', num_crops=3),
            dict(type='PackClip'),
        ],
    ),
)

optim_wrapper = dict(
    optimizer=dict(lr=5e-4 * 128 / 256),
    # No weight decay on positions, either.
    paramwise_cfg=dict(layer_decay_rate=0.75, custom_keys={'pos_embed': dict(decay_mult=0.0)}),
)
auto_scale_lr = dict(base_batch_size=128)

train_cfg = dict(max_epochs=50)
param_scheduler = [
    dict(type='WarmupLR', share=5 / 50, by_epoch=False),
    dict(
        type='CosineLR',
        warmup_share=5 / 50,
        eta_min_ratio=1e-6 / (5e-4 * 128 / 256),
        by_epoch=False,
    ),
]
