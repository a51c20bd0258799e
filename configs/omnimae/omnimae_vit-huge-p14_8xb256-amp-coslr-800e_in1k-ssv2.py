# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""OmniMAE, ViT-H/14, images of ImageNet-1K and clips of Something-Something v2.

After fine-tuning, the authors report 86.5 on ImageNet-1K and 75.3 on Something-Something v2 for 1600 epochs:
`train_cfg.max_epochs=1600`. Not run at this scale here.

    bash tools/dist_train.sh omnimae_vit-huge-p14_8xb256-amp-coslr-800e_in1k-ssv2 8
"""

_base_ = './omnimae_vit-base-p16_8xb256-amp-coslr-800e_in1k-ssv2.py'

model_size = 'huge'
patch_size = 14
model = dict(neck=dict(embed_dim=512, depth=8))
