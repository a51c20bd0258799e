# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Attentive probe of ViT-B/16 on ImageNet-1K: one learned query over the frozen patch tokens.

The recipe is ours, near that of V-JEPA (AdamW, 1e-3, 20 epochs), whose probe has a whole layer more: figures do not
compare. Not run at this scale here.

    bash tools/dist_train.sh configs/vicmae/benchmarks/vicmae_vit-base-p16_attentive_8xb128-amp-coslr-20e_in1k.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../_base_/models/probe_vit-base-p16.py',
    '../../_base_/datasets/image-classes_224.py',
    '../../_base_/schedules/adamw-coslr-20e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    aggregator=dict(type='AttentionPooling', num_heads=12),
    head=dict(norm=None),
)
train_dataloader = dict(
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
auto_scale_lr = dict(base_batch_size=1024)
