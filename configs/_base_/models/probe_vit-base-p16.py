# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A frozen backbone and a linear layer behind a batch norm without scale and shift, as MAE probes.

`model.pretrained=CHECKPOINT` names the weights of the backbone.
"""

# Pipelines and model follow these: `--cfg-options image_size=96 patch_size=8 model_size=tiny`.
image_size = 224
patch_size = 16
model_size = 'base'

model = dict(
    type='TransferClassifier',
    pretrained=None,
    freeze_backbone=True,
    data_preprocessor=dict(type='LabelledPreprocessor'),
    backbone=dict(type='MaskedViT', num_frames=1),
    aggregator=dict(type='MeanPooling'),  # MAE itself takes the class token: ClsPooling
    head=dict(type='TransferHead', norm='SyncBN', init_std=0.01),
)
