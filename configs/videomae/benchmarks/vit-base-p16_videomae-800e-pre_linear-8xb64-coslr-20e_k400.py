# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of VideoMAE's ViT-B/16 on Kinetics-400: the mean of the patch tokens of a clip.

Clips have 16 frames that are 4 apart, with crops and flips; in tests, 7 clips x 3 crops. The recipe is ours. Not run at
this scale here.

    bash tools/dist_train.sh vit-base-p16_videomae-800e-pre_linear-8xb64-coslr-20e_k400 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../_base_/models/probe_vit-base-p16.py',
    '../../_base_/datasets/video-clips.py',
    '../../_base_/datasets/k400.py',
    '../../_base_/schedules/adamw-coslr-20e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='MaskedViT',
        tubelet_size=2,
        pos_embed_type='sinusoid',
        with_cls_token=False,
    ),
)
train_video = [
    dict(type='OpenVideo'),
    dict(type='DistantClips', num_segments=1, frame_stride=4),
    dict(type='DecodeFrames'),
    dict(type='ClipView', transforms=[_base_.random_crop, dict(type='RandomFlip')]),
    dict(type='PackClip'),
]
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_video))
auto_scale_lr = dict(base_batch_size=512)
