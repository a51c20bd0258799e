# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probe of the frozen features of ViT-S/16 on ImageNet-1K.

bash tools/dist_test.sh configs/vicmae/benchmarks/vicmae_vit-small-p16_probes_in1k.py CHECKPOINT 8
"""

_base_ = '../vicmae_vit-small-p16_8xb512-amp-coslr-800e_in1k-k400.py'

test_dataloader = _base_.test_dataloader
sources = test_dataloader.dataset.sources
del sources.video_bank, sources.video_query
sources.image_bank.max_per_class = sources.image_query.max_per_class = None

test_evaluator = [
    dict(type='KNNAccuracy', k=[10, 20, 100, 200], temperature=0.07),
    dict(type='LinearProbeAccuracy'),
]
test_cfg = dict(type='FeatureTestLoop')
