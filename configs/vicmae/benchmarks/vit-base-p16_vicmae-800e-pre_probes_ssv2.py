# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probes of the frozen features of ViT-B/16 on Something-Something v2.

No augmentation: features are computed once and stored. Not run at this scale here.

    bash tools/dist_test.sh vit-base-p16_vicmae-800e-pre_probes_ssv2 CHECKPOINT 8
"""

_base_ = [
    '../../_base_/models/features_vit-base-p16.py',
    '../../_base_/datasets/video-features.py',
    '../../_base_/datasets/ssv2.py',
    '../../_base_/default_runtime.py',
]

test_dataloader = dict(
    dataset=dict(
        sources=dict(
            video_bank=dict(ann_file='train.txt'),
            video_query=dict(ann_file='val.txt'),
        ),
    ),
)

# The first process fits the heads while the others wait for its figures.
env_cfg = dict(dist_cfg=dict(timeout=2 * 3600))
