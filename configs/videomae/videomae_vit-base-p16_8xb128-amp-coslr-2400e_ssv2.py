# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""VideoMAE, ViT-B/16, clips of Something-Something v2, 2400 epochs.

Frames are 2 apart, and clips aren't flipped: the classes know left from right. data/ssv2/{train,val}.txt have a line
`videos/1234.webm 12` for each video. After fine-tuning, the authors report 70.8 on Something-Something v2, and 69.6
after 800 epochs. Not run at this scale here.

    bash tools/dist_train.sh videomae_vit-base-p16_8xb128-amp-coslr-2400e_ssv2 8
"""

_base_ = './videomae_vit-base-p16_8xb128-amp-coslr-800e_k400.py'

random_crop = dict(type='RandomResizedCrop', scale=(0.5, 1.0))
train_video = [
    dict(type='OpenVideo'),
    dict(type='DistantClips', num_segments=1, frame_stride=2),
    dict(type='DecodeFrames'),
    dict(type='ClipViews', on_device=True, transforms=[random_crop]),
    dict(type='PackViews'),
]
test_video = [
    dict(type='OpenVideo'),
    dict(type='UniformClips', num_clips=1, frame_stride=2),
    dict(type='DecodeFrames'),
    dict(type='CenterCrop'),
    dict(type='PackClip'),
]
train_dataloader = dict(
    dataset=dict(
        sources=dict(
            videos=dict(data_root='data/ssv2', ann_file='train.txt', pipeline=train_video),
        ),
    ),
)
val_dataloader = dict(
    dataset=dict(
        sources=dict(
            video_bank=dict(data_root='data/ssv2', ann_file='train.txt', pipeline=test_video),
            video_query=dict(data_root='data/ssv2', ann_file='val.txt', pipeline=test_video),
        ),
    ),
)
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=2400)
param_scheduler = [
    dict(type='WarmupLR', share=40 / 2400, by_epoch=False),
    dict(type='CosineLR', warmup_share=40 / 2400, by_epoch=False),
]
