# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of MAE-ST's ViT-B/16 on Kinetics-400: the mean of the patch tokens of a clip.

The recipe is that of VideoMAE. Not run at this scale here.

    bash tools/dist_train.sh vit-base-p16_maest-800e-pre_linear-8xb64-coslr-20e_k400 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = '../../videomae/benchmarks/vit-base-p16_videomae-800e-pre_linear-8xb64-coslr-20e_k400.py'

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
