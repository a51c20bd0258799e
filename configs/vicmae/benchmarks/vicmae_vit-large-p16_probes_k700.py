# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probe of the frozen features of ViT-L/16 on Kinetics-700.

Of eight frames of each video the mean; features are computed once and kept. Not run at this scale here.

    bash tools/dist_test.sh \
        configs/vicmae/benchmarks/vicmae_vit-large-p16_probes_k700.py CHECKPOINT 8
"""

_base_ = './vicmae_vit-base-p16_probes_k700.py'

model = dict(backbone=dict(arch='large'))
