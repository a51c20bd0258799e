# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probe of the frozen features of ViT-B/16 on Kinetics-400.

Of eight frames of each video the mean; features are computed once and kept. Not run at this scale here.

    bash tools/dist_test.sh \
        configs/vicmae/benchmarks/vicmae_vit-base-p16_probes_k400.py CHECKPOINT 8
"""

_base_ = [
    '../../_base_/models/features_vit-base-p16.py',
    '../../_base_/datasets/in1k-k400_224.py',
    '../../_base_/default_runtime.py',
]

test_dataloader = _base_.test_dataloader
sources = test_dataloader.dataset.sources
del sources.image_bank, sources.image_query
sources.video_bank.update(data_root='data/kinetics400/train', max_per_class=None)
sources.video_query.update(data_root='data/kinetics400/val', max_per_class=None)

test_evaluator = [
    dict(type='KNNAccuracy', k=[10, 20, 100, 200], temperature=0.07),
    dict(type='LinearProbeAccuracy'),
]
test_cfg = dict(type='FeatureTestLoop')
# The first process fits the heads while the others wait for its figures.
env_cfg = dict(dist_cfg=dict(timeout=2 * 3600))
