# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-S/16 on Kinetics-400.

ViT-B's recipe; neither the paper nor MAE-ST has this size. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-small-p16_finetune_8xb16-amp-coslr-150e_k400.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_finetune_8xb16-amp-coslr-150e_k400.py'

model = dict(backbone=dict(arch='small'))
