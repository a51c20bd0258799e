# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of ViT-B/16 on ImageNet-1K.

MAE's recipe on the mean of the patch tokens. It needs the large batch: LARS moves little on a small set, for which
vit-base-p16_vicmae-800e-pre_linear-1xb64-coslr-50e_small-data.py is made. Expected: 67.66 (the paper, recipe unknown).
Not run at this scale here.

    bash tools/dist_train.sh vit-base-p16_vicmae-800e-pre_linear-8xb2048-lars-coslr-90e_in1k 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../_base_/models/probe_vit-base-p16.py',
    '../../_base_/datasets/image-classes.py',
    '../../_base_/datasets/in1k.py',
    '../../_base_/schedules/lars-coslr-90e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=2048, dataset=dict(pipeline=_base_.probe_image))
