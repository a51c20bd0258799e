# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-B/16 on ImageNet-1K.

The recipe of MAE, which is also that of the official ViC-MAE but for its pooling (class token). Expected: 83.0 with
ImageNet-1K + Kinetics-400, 83.8 with the largest mixture (the paper). Not run at this scale here.

    bash tools/dist_train.sh vit-base-p16_vicmae-800e-pre_8xb128-coslr-100e_in1k 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../_base_/models/transfer_vit-base-p16.py',
    '../../_base_/datasets/image-classes.py',
    '../../_base_/datasets/in1k.py',
    '../../_base_/schedules/adamw-layer-decay-coslr-100e.py',
    '../../_base_/default_runtime.py',
]
