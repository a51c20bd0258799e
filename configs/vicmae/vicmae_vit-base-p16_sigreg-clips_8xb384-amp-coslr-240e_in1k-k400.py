# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""SIGReg on images and clips without decoder, teacher and schedule: 95 % of the patches are dropped. ViT-B/16.

It is close to LeVJEPA (https://arxiv.org/abs/2608.27395): one encoder of 16 frames with a patch per frame, a loss of
the class token, weight 0.02 and batches of 3072. Different here: images too; two views of equal size instead of one
and ten small ones; learned positions and full attention instead of rotary positions and block-causal attention; weight
1 - 0.02 of the invariance; a cosine schedule of the learning rate. ViT-L: `--cfg-options model_size=large`. Not run at
this scale here.

    bash tools/dist_train.sh configs/vicmae/vicmae_vit-base-p16_sigreg-clips_8xb384-amp-coslr-240e_in1k-k400.py 8
"""

_base_ = [
    '../_base_/models/vicmae_vit-base-p16.py',
    '../_base_/datasets/in1k-k400-clips.py',
    '../_base_/schedules/adamw-coslr-800e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='MaskedViT',
        tubelet_size=1,
        masking=dict(type='RandomMasking', mask_ratio=0.95),
    ),
    neck=None,
    aggregator=dict(type='ClsPooling'),
    projector=dict(type='MLPHead', hidden_dim=2048, out_dim=256, num_blocks=1, norm='SyncBN'),
    predictor=None,
    target=dict(_delete_=True, type='SharedTarget'),
    head=dict(
        reconstruction=None,
        contrastive=dict(_delete_=True, type='SIGRegLoss', weight=0.02),
        contrastive_weight=1.0,
    ),
)
custom_hooks = []  # the weight has no schedule

train_dataloader = dict(batch_size=384)
optim_wrapper = dict(optimizer=dict(lr=4e-4, weight_decay=0.04))
auto_scale_lr = dict(base_batch_size=3072)
train_cfg = dict(max_epochs=240, val_interval=40)
