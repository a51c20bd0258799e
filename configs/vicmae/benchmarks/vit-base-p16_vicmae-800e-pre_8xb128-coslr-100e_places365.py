# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-B/16 on Places365.

The recipe of ImageNet-1K, as the paper names none. Expected: 58.6 with ImageNet-1K + Kinetics-400, 59.1 with the
largest mixture (the paper). Not run at this scale here.

    bash tools/dist_train.sh vit-base-p16_vicmae-800e-pre_8xb128-coslr-100e_places365 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../_base_/models/transfer_vit-base-p16.py',
    '../../_base_/datasets/image-classes.py',
    '../../_base_/datasets/places365.py',
    '../../_base_/schedules/adamw-layer-decay-coslr-100e.py',
    '../../_base_/default_runtime.py',
]
