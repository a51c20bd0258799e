# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes VideoMAE's ViT-B/16 on ImageNet-1K: an image is repeated to the two frames of a patch.

The recipe is that of ViC-MAE, so that both are compared alike. ViC-MAE's paper reports 81.1. Not run at this scale
here.

    bash tools/dist_train.sh vit-base-p16_videomae-800e-pre_8xb128-coslr-100e_in1k 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = '../../vicmae/benchmarks/vit-base-p16_vicmae-800e-pre_8xb128-coslr-100e_in1k.py'

model = dict(backbone=dict(tubelet_size=2, pos_embed_type='sinusoid', with_cls_token=False))
