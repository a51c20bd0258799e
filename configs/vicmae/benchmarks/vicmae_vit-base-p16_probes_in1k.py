# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probe of frozen features on ImageNet-1K, without augmentation: features are computed once.

DINO's kNN (10, 20, 100 and 200 neighbours, temperature 0.07), and a linear classifier for each rate of a sweep, all
in one pass. Features stay in work_dirs/features, so that further probes cost minutes.

    bash tools/dist_test.sh configs/vicmae/benchmarks/vicmae_vit-base-p16_probes_in1k.py CHECKPOINT 8
"""

_base_ = [
    '../../_base_/models/features_vit-base-p16.py',
    '../../_base_/datasets/in1k-k400_224.py',
    '../../_base_/default_runtime.py',
]

test_dataloader = _base_.test_dataloader
sources = test_dataloader.dataset.sources
del sources.video_bank, sources.video_query
sources.image_bank.max_per_class = sources.image_query.max_per_class = None

test_evaluator = [
    dict(type='KNNAccuracy', k=[10, 20, 100, 200], temperature=0.07),
    dict(type='LinearProbeAccuracy'),
]
test_cfg = dict(type='FeatureTestLoop')
# The first process fits the heads while the others wait for its figures.
env_cfg = dict(dist_cfg=dict(timeout=2 * 3600))
