# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes MAE-ST's ViT-B/16 on Kinetics-400.

The recipe is that of ViC-MAE, so that both are compared alike. The authors report 81.3. Not run at this scale here.

    bash tools/dist_train.sh vit-base-p16_maest-800e-pre_8xb16-coslr-150e_k400 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = '../../vicmae/benchmarks/vit-base-p16_vicmae-800e-pre_8xb16-coslr-150e_k400.py'

model = dict(
    backbone=dict(
        tubelet_size=2,
        pos_embed_type='separable',
        learn_pos_embed=True,
        repeat_cls_token=False,
    ),
)
