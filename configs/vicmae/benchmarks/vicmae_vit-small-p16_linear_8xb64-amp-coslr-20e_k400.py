# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of ViT-S/16 on Kinetics-400: the mean of frame features.

Kinetics-400's recipe with ViT-B. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-small-p16_linear_8xb64-amp-coslr-20e_k400.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_linear_8xb64-amp-coslr-20e_k400.py'

model = dict(backbone=dict(arch='small'))
