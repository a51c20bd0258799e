# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A backbone that is fine-tuned as MAE has it: the mean of the patch tokens, then a layer norm, then the classes.

`model.pretrained=CHECKPOINT` names the weights that the backbone begins from.
"""

# Pipelines and model follow these: `--cfg-options image_size=96 patch_size=8 model_size=tiny`.
image_size = 224
patch_size = 16
model_size = 'base'

model = dict(
    type='TransferClassifier',
    pretrained=None,
    data_preprocessor=dict(type='LabelledPreprocessor', mixup_alpha=0.8, cutmix_alpha=1.0),
    backbone=dict(
        type='MaskedViT',
        drop_path_rate=0.1,
        # Where tokens are averaged, MAE's new norm behind the mean stands for that of the tokens.
        final_norm=False,
    ),
    aggregator=dict(type='MeanPooling'),  # ClsPooling: the official ViC-MAE
    head=dict(
        type='TransferHead',
        norm='LN',
        init_std=2e-5,
        loss=dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1),
    ),
)
