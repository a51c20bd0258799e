# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of ViT-B/16 on ImageNet-1K.

MAE's recipe on the mean of the patch tokens. Expected: 67.66 (the paper, recipe unknown). Not run at this scale
here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-base-p16_linear_8xb2048-amp-lars-coslr-90e_in1k.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../_base_/models/probe_vit-base-p16.py',
    '../../_base_/datasets/image-classes_224.py',
    '../../_base_/schedules/lars-coslr-90e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader = dict(
    batch_size=2048,
    dataset=dict(
        pipeline=[
            dict(type='LoadImage', lazy=True),
            dict(
                type='OneView',
                transforms=[
                    dict(type='RandomResizedCrop', scale=(0.08, 1.0)),
                    dict(type='RandomFlip'),
                ],
            ),
            dict(type='PackImage'),
        ],
    ),
)
