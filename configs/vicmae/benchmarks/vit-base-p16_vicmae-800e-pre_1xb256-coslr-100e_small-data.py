# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-B/16 on a small set of images, on one GPU.

ImageNet's recipe at a batch of 256. The paper names no small set. The usual figure of Caltech-101, Flowers and Pets is
`mean_class`. Not run at this scale here.

    vicmae train vit-base-p16_vicmae-800e-pre_1xb256-coslr-100e_small-data \
        --cfg-options model.pretrained=CHECKPOINT data_root=data/pets num_classes=37
"""

_base_ = [
    '../../_base_/models/transfer_vit-base-p16.py',
    '../../_base_/datasets/image-classes.py',
    '../../_base_/datasets/small-data.py',
    '../../_base_/schedules/adamw-layer-decay-coslr-100e.py',
    '../../_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=256)
optim_wrapper = dict(optimizer=dict(lr=5e-4 * 256 / 256))
param_scheduler = [
    dict(type='WarmupLR', share=0.05, by_epoch=False),
    dict(
        type='CosineLR',
        warmup_share=0.05,
        eta_min_ratio=1e-6 / (5e-4 * 256 / 256),
        by_epoch=False,
    ),
]
auto_scale_lr = dict(base_batch_size=256)
