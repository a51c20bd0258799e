# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probes of the frozen features of MAE-ST's ViT-B/16 on Kinetics-400.

The feature of a video is that of a clip in its middle: 16 frames, 4 apart. Not run at this scale here.

    bash tools/dist_test.sh vit-base-p16_maest-800e-pre_probes_k400 CHECKPOINT 8
"""

_base_ = '../../videomae/benchmarks/vit-base-p16_videomae-800e-pre_probes_k400.py'

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
