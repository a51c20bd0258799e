# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probe of the frozen features of ViT-S/16 on Something-Something v2.

Of eight frames of each video the mean; features are computed once and kept. Not run at this scale here.

    bash tools/dist_test.sh \
        configs/vicmae/benchmarks/vicmae_vit-small-p16_probes_ssv2.py CHECKPOINT 8
"""

_base_ = '../vicmae_vit-small-p16_8xb512-amp-coslr-800e_in1k-k400.py'

test_dataloader = _base_.test_dataloader
sources = test_dataloader.dataset.sources
del sources.image_bank, sources.image_query
sources.video_bank.update(data_root='data/ssv2', ann_file='train.txt', max_per_class=None)
sources.video_query.update(data_root='data/ssv2', ann_file='val.txt', max_per_class=None)

test_evaluator = [
    dict(type='KNNAccuracy', k=[10, 20, 100, 200], temperature=0.07),
    dict(type='LinearProbeAccuracy'),
]
test_cfg = dict(type='FeatureTestLoop')
