# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-S/16 on Something-Something v2.

ViT-B's recipe. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-small-p16_finetune_8xb16-amp-coslr-50e_ssv2.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_finetune_8xb16-amp-coslr-50e_ssv2.py'

model = dict(backbone=dict(arch='small'))
