# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of MAE-ST's ViT-B/16 on ImageNet-1K: an image is repeated to the two frames of a patch.

The recipe is MAE's, as for ViC-MAE. Not run at this scale here.

    bash tools/dist_train.sh vit-base-p16_maest-800e-pre_linear-8xb2048-lars-coslr-90e_in1k 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = (
    '../../vicmae/benchmarks/vit-base-p16_vicmae-800e-pre_linear-8xb2048-lars-coslr-90e_in1k.py'
)

model = dict(
    backbone=dict(
        _delete_=True,
        type='MaskedViT',
        tubelet_size=2,
        pos_embed_type='separable',
        learn_pos_embed=True,
        repeat_cls_token=False,
    ),
)
