# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes VideoMAE's ViT-B/16 on Kinetics-400.

The recipe is that of ViC-MAE, so that both are compared alike. The authors report 80.0 after 800 epochs of pretraining
on Kinetics-400. Not run at this scale here.

    bash tools/dist_train.sh vit-base-p16_videomae-800e-pre_8xb16-coslr-150e_k400 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = '../../vicmae/benchmarks/vit-base-p16_vicmae-800e-pre_8xb16-coslr-150e_k400.py'

model = dict(backbone=dict(tubelet_size=2, pos_embed_type='sinusoid', with_cls_token=False))
