# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of ViT-B/16 on Something-Something v2: the mean of frame features.

No flips: the classes know left from right. Kinetics-400's recipe. Not run at this scale here.

    bash tools/dist_train.sh vit-base-p16_vicmae-800e-pre_linear-8xb64-coslr-20e_ssv2 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../_base_/models/probe_vit-base-p16.py',
    '../../_base_/datasets/video-frames.py',
    '../../_base_/datasets/ssv2.py',
    '../../_base_/schedules/adamw-coslr-20e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader = dict(
    dataset=dict(
        ann_file='train.txt',
        pipeline=_base_.train_video_without_flips,
    ),
)
val_dataloader = dict(dataset=dict(ann_file='val.txt'))
test_dataloader = dict(dataset=dict(ann_file='val.txt'))

model = dict(over_time=dict(type='MeanOverTime'))
auto_scale_lr = dict(base_batch_size=512)
