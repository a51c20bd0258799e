# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Attentive probe of ViT-S/16 on ImageNet-1K.

ViT-B's recipe. Not run at this scale here.

    bash tools/dist_train.sh configs/vicmae/benchmarks/vicmae_vit-small-p16_attentive_8xb128-amp-coslr-20e_in1k.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_attentive_8xb128-amp-coslr-20e_in1k.py'

model = dict(
    backbone=dict(arch='small'),
    aggregator=dict(num_heads=6),
)
