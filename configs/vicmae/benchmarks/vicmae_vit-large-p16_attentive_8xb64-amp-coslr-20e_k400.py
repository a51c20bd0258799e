# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Attentive probe of ViT-L/16 on Kinetics-400: over patches, then over frames.

Kinetics-400's recipe with ViT-B. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-large-p16_attentive_8xb64-amp-coslr-20e_k400.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_attentive_8xb64-amp-coslr-20e_k400.py'

model = dict(
    backbone=dict(arch='large'),
    aggregator=dict(num_heads=16),
    over_time=dict(num_heads=16),
)
