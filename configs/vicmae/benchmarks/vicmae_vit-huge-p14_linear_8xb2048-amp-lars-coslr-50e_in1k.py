# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of ViT-H/14 on ImageNet-1K.

MAE's recipe of 50 epochs. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-huge-p14_linear_8xb2048-amp-lars-coslr-50e_in1k.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_linear_8xb2048-amp-lars-coslr-90e_in1k.py'

model = dict(backbone=dict(arch='huge', patch_size=14))
train_cfg = dict(max_epochs=50)
param_scheduler = [
    dict(type='WarmupLR', share=10 / 50, by_epoch=False),
    dict(type='CosineLR', warmup_share=10 / 50, by_epoch=False),
]
