# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Ablation of the frame gap: always 8 frames apart.

bash tools/dist_train.sh configs/vicmae/ablations/vicmae_vit-base-p16_gap-fixed8.py 8
"""

_base_ = '../vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

train_dataloader = _base_.train_dataloader
train_dataloader.dataset.sources.videos.pipeline[1] = dict(type='FixedGapFramePair', gap=8)
