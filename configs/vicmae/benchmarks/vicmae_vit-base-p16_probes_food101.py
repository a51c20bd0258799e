# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probe of the frozen features of ViT-B/16 on Food-101.

Data: data/food101/{train,val}/<class>/*. Features are computed once and kept. Not run at this scale here.

    bash tools/dist_test.sh configs/vicmae/benchmarks/vicmae_vit-base-p16_probes_food101.py CHECKPOINT 8
"""

_base_ = './vicmae_vit-base-p16_probes_in1k.py'

test_dataloader = _base_.test_dataloader
sources = test_dataloader.dataset.sources
sources.image_bank.data_root = 'data/food101/train'
sources.image_query.data_root = 'data/food101/val'
