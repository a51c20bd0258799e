# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""SimCLR in seconds on a CPU: the debug run of ViC-MAE, with another algorithm.

python tools/train.py configs/simclr/simclr_vit-tiny-p8_debug.py
"""

_base_ = '../vicmae/vicmae_vit-tiny-p8_debug.py'

model = dict(
    _delete_=True,
    type='SimCLR',
    data_preprocessor=dict(type='ViewPreprocessor'),
    backbone=_base_.model.backbone,
    aggregator=dict(type='MeanPooling'),
    projector=dict(type='MLPHead', hidden_dim=64, out_dim=32),
    contrastive=dict(type='InfoNCELoss'),
)
custom_hooks = []  # without ViC-MAE's
