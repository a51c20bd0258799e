# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of ViT-B/16 on a small set of images, or on few images of each class, on one GPU.

AdamW, as a set of some hundred to some thousand images has too few steps for LARS. The recipe is ours. On real images
it agrees with a logistic regression of the same features, see README.md. Not run at this size here.

    vicmae train vit-base-p16_vicmae-800e-pre_linear-1xb64-coslr-50e_small-data \
        --cfg-options model.pretrained=CHECKPOINT data_root=FOLDER num_classes=10
"""

_base_ = [
    '../../_base_/models/probe_vit-base-p16.py',
    '../../_base_/datasets/image-classes.py',
    '../../_base_/datasets/small-data.py',
    '../../_base_/schedules/adamw-coslr-20e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=64, dataset=dict(pipeline=_base_.probe_image))
optim_wrapper = dict(optimizer=dict(lr=3e-3, weight_decay=0.0))
auto_scale_lr = dict(base_batch_size=64)
train_cfg = dict(max_epochs=50, val_interval=10)
