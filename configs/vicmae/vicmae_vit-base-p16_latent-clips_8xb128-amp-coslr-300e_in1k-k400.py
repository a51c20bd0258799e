# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Prediction of an EMA encoder's tokens, instead of pixels, on images and clips: ViT-B/16, close to V-JEPA.

V-JEPA (https://arxiv.org/abs/2404.08471) has clips of 16 frames with tubelets of 2, blocks of 15 % and of 70 % of the
area that are masked in all frames, a predictor of 12 layers of 384, L1, EMA of 0.998 to 1, and 6.25e-4 for 3072 clips.
Different here: images too, of which 75 % is masked; one mask of a clip, of 90 %, instead of two; positions in time are
learned; the EMA along a cosine; a constant weight decay. V-JEPA evaluates its EMA encoder: in transfer,
`model.pretrained_branch=teacher` takes it. ViT-L: `--cfg-options model_size=large`. Not run at this scale here.

    bash tools/dist_train.sh configs/vicmae/vicmae_vit-base-p16_latent-clips_8xb128-amp-coslr-300e_in1k-k400.py 8
"""

_base_ = [
    '../_base_/models/vicmae_vit-base-p16.py',
    '../_base_/datasets/in1k-k400-clips.py',
    '../_base_/schedules/adamw-coslr-800e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='MaskedViT',
        tubelet_size=2,
        with_cls_token=False,
        masking=dict(
            type='ImageOrClipMasking',
            image=dict(type='BlockMasking', mask_ratio=0.75, scale=(0.15, 0.2), ratio=(0.75, 1.5)),
            clip=dict(type='BlockMasking', mask_ratio=0.9, scale=(0.15, 0.7), ratio=(0.75, 1.5)),
        ),
    ),
    neck=dict(embed_dim=384, depth=12, num_heads=12),
    predictor=None,
    target=None,
    head=dict(
        reconstruction=dict(_delete_=True, type='LatentPredictionLoss', momentum=0.998),
        contrastive=None,
    ),
)
custom_hooks = []  # without contrast

# One view, cropped as there.
crop_and_flip = [
    dict(type='RandomResizedCrop', scale=(0.3, 1.0), ratio=(0.75, 1.35)),
    dict(type='RandomFlip'),
]
train_image = [
    dict(type='LoadImage', lazy=True),
    dict(type='OneView', on_device=True, transforms=crop_and_flip),
    dict(type='PackViews'),
]
train_video = [
    dict(type='OpenVideo'),
    dict(type='DistantClips', num_segments=1, frame_stride=4),
    dict(type='DecodeFrames'),
    dict(type='ClipViews', on_device=True, transforms=crop_and_flip),
    dict(type='PackViews'),
]
train_dataloader = dict(
    dataset=dict(
        sources=dict(images=dict(pipeline=train_image), videos=dict(pipeline=train_video)),
    ),
)

optim_wrapper = dict(
    optimizer=dict(lr=6.25e-4 * 1024 / 3072, betas=(0.9, 0.999), weight_decay=0.04),
    clip_grad=dict(max_norm=10.0),
)
auto_scale_lr = dict(base_batch_size=1024)
train_cfg = dict(max_epochs=300)
param_scheduler = [
    dict(type='WarmupLR', share=40 / 300, by_epoch=False),
    dict(type='CosineLR', warmup_share=40 / 300, by_epoch=False),
]
