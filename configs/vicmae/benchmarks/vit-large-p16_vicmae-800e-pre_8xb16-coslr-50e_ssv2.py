# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-L/16 on Something-Something v2.

ViT-B's recipe, with more layers dropped. Expected: 75.0 with ImageNet-1K + Kinetics-400, 75.9 with the largest mixture
(the paper). Not run at this scale here.

    bash tools/dist_train.sh vit-large-p16_vicmae-800e-pre_8xb16-coslr-50e_ssv2 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vit-base-p16_vicmae-800e-pre_8xb16-coslr-50e_ssv2.py'

model_size = 'large'
model = dict(backbone=dict(drop_path_rate=0.2))
