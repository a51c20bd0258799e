# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-B/16 on ImageNet-1K.

The recipe of MAE, which is also that of the official ViC-MAE but for its pooling (class token). Expected: 83.0 with
ImageNet-1K + Kinetics-400, 83.8 with the largest mixture (the paper). Not run at this scale here.

    bash tools/dist_train.sh configs/vicmae/benchmarks/vicmae_vit-base-p16_finetune_8xb128-amp-coslr-100e_in1k.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../_base_/models/transfer_vit-base-p16.py',
    '../../_base_/datasets/image-classes_224.py',
    '../../_base_/schedules/adamw-layer-decay-coslr-100e.py',
    '../../_base_/default_runtime.py',
]
