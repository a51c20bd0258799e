# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probe of the frozen features of ViT-L/16 on ImageNet-1K.

bash tools/dist_test.sh configs/vicmae/benchmarks/vicmae_vit-large-p16_probes_in1k.py CHECKPOINT 8
"""

_base_ = './vicmae_vit-base-p16_probes_in1k.py'

model = dict(backbone=dict(arch='large'))
