# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probe of the frozen features of ViT-B/16 on Kinetics-600.

Of eight frames of each video the mean; features are computed once and kept. Not run at this scale here.

    bash tools/dist_test.sh \
        configs/vicmae/benchmarks/vicmae_vit-base-p16_probes_k600.py CHECKPOINT 8
"""

_base_ = './vicmae_vit-base-p16_probes_k400.py'

test_dataloader = _base_.test_dataloader
sources = test_dataloader.dataset.sources
sources.video_bank.update(data_root='data/kinetics600/train')
sources.video_query.update(data_root='data/kinetics600/val')
