# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probe of the frozen features of ViT-S/16 on Places365.

Data: data/places365/{train,val}/<class>/*. Features are computed once and kept. Not run at this scale here.

    bash tools/dist_test.sh configs/vicmae/benchmarks/vicmae_vit-small-p16_probes_places365.py CHECKPOINT 8
"""

_base_ = './vicmae_vit-small-p16_probes_in1k.py'

test_dataloader = _base_.test_dataloader
sources = test_dataloader.dataset.sources
sources.image_bank.data_root = 'data/places365/train'
sources.image_query.data_root = 'data/places365/val'
