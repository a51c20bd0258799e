# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of ViT-B/16 on Kinetics-400: the mean of frame features.

Eight frames of the whole video are encoded as images, as in pretraining, averaged, and classified behind a batch norm.
The recipe is ours. Not run at this scale here.

    bash tools/dist_train.sh vit-base-p16_vicmae-800e-pre_linear-8xb64-coslr-20e_k400 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../_base_/models/probe_vit-base-p16.py',
    '../../_base_/datasets/video-frames.py',
    '../../_base_/datasets/k400.py',
    '../../_base_/schedules/adamw-coslr-20e.py',
    '../../_base_/default_runtime.py',
]

model = dict(over_time=dict(type='MeanOverTime'))
auto_scale_lr = dict(base_batch_size=512)
