# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probes of the frozen features of ViT-B/16 on ImageNet-1K.

No augmentation: features are computed once and stored. Not run at this scale here.

    bash tools/dist_test.sh vit-base-p16_vicmae-800e-pre_probes_in1k CHECKPOINT 8
"""

_base_ = [
    '../../_base_/models/features_vit-base-p16.py',
    '../../_base_/datasets/image-features.py',
    '../../_base_/datasets/in1k.py',
    '../../_base_/default_runtime.py',
]

# The first process fits the heads while the others wait for its figures.
env_cfg = dict(dist_cfg=dict(timeout=2 * 3600))
