# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""OmniMAE, ViT-B/16, with the masks and the learning rate of the released config: 0.75 of an image, 0.9 of a clip.

Not run at this scale here.

    bash tools/dist_train.sh omnimae_vit-base-p16_official-code_8xb256-amp-coslr-800e_in1k-ssv2 8
"""

_base_ = './omnimae_vit-base-p16_8xb256-amp-coslr-800e_in1k-ssv2.py'

model = dict(
    backbone=dict(masking=dict(image=dict(mask_ratio=0.75), clip=dict(mask_ratio=0.9))),
)
optim_wrapper = dict(optimizer=dict(lr=1.6e-3))
