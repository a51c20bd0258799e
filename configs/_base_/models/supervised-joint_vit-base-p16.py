# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""One backbone for images and clips, with a head for each data set.

An image is a clip of one time step: its pixels are repeated to a tubelet. `model.pretrained=CHECKPOINT` names the
weights that the backbone begins from.
"""

# Pipelines and model follow these: `--cfg-options image_size=96 patch_size=8 model_size=tiny`.
image_size = 224
patch_size = 16
model_size = 'base'

model = dict(
    type='SupervisedJoint',
    pretrained=None,
    data_preprocessor=dict(type='JointPreprocessor', mixup_alpha=0.8, cutmix_alpha=1.0),
    backbone=dict(
        type='MaskedViT',
        tubelet_size=2,
        drop_path_rate=0.1,
    ),
    aggregator=dict(
        type='MeanPooling'
    ),  # of tokens after the final norm, so that all heads share the features
    # The names are those of the sources.
    heads=dict(
        images=dict(
            type='TransferHead',
            num_classes=1000,
            init_std=2e-5,
            loss=dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1),
        ),
        videos=dict(
            type='TransferHead',
            num_classes=400,
            init_std=2e-5,
            loss=dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1),
        ),
    ),
)
