# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE, ViT-B/16, on images and single frames: what ViC-MAE is without contrast (https://arxiv.org/abs/2111.06377).

The paper's recipe, which is for ImageNet-1K alone: `train_dataloader.dataset.sources.videos=None` gives that. Expected
of it after fine-tuning: 83.6 ImageNet-1K. Not run at this scale here.

    bash tools/dist_train.sh configs/mae/mae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py 8
"""

_base_ = [
    '../_base_/models/mae_vit-base-p16.py',
    '../_base_/datasets/in1k-k400.py',
    '../_base_/schedules/adamw-coslr-800e.py',
    '../_base_/default_runtime.py',
]

image_views = dict(type='OneView', on_device=True, transforms=_base_.image_crop_and_flip)
train_image = [dict(type='LoadImage', lazy=True), image_views, dict(type='PackViews')]
train_video = [
    dict(type='OpenVideo'),
    dict(type='SameFramePair'),  # decodes one frame
    dict(type='DecodeFrames'),
    image_views,
    dict(type='PackViews'),
]
train_dataloader = dict(
    dataset=dict(
        sources=dict(
            images=dict(pipeline=train_image),
            videos=dict(pipeline=train_video),
        )
    ),
)
