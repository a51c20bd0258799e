# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Attentive probe of ViT-B/16 on ImageNet-1K: one learned query over the frozen patch tokens.

The recipe is ours, near that of V-JEPA (AdamW, 1e-3, 20 epochs), whose probe has a whole layer more: figures do not
compare. Not run at this scale here.

    bash tools/dist_train.sh vit-base-p16_vicmae-800e-pre_attentive-8xb128-coslr-20e_in1k 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../_base_/models/probe_vit-base-p16.py',
    '../../_base_/datasets/image-classes.py',
    '../../_base_/datasets/in1k.py',
    '../../_base_/schedules/adamw-coslr-20e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    aggregator=dict(type='AttentionPooling'),
    head=dict(norm=None),
)
train_dataloader = dict(dataset=dict(pipeline=_base_.probe_image))
auto_scale_lr = dict(base_batch_size=1024)
