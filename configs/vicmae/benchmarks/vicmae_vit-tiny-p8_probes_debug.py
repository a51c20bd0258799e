# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN, linear probe and logistic regression of frozen features, on images and on clips, in seconds on a CPU.

Pretraining: vicmae train vicmae_vit-tiny-p8_debug, or the debug config of MAE or SimCLR. A model of clips needs the
options in docs/guides/transfer.md, "Transfer a model of clips".

    vicmae test vicmae_vit-tiny-p8_probes_debug CHECKPOINT
"""

_base_ = '../vicmae_vit-tiny-p8_debug.py'

model = dict(
    _delete_=True,
    type='FrozenFeatures',
    data_preprocessor=dict(type='LabelledPreprocessor'),
    backbone=_base_.model.backbone,
    aggregator=dict(type='MeanPooling'),
)
custom_hooks = []  # without ViC-MAE's
train_cfg = None  # nothing is trained

test_evaluator = [
    dict(type='KNNAccuracy', k=[10, 20, 100, 200], temperature=0.07),
    dict(type='LinearProbeAccuracy'),
    dict(type='LogisticAccuracy'),
]
test_cfg = dict(type='FeatureTestLoop', over_time=dict(type='StatisticsOverTime'))
