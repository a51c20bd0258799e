# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-B/16 on Kinetics-400.

MAE-ST's recipe for clips of 16 x 4: patches of 2 x 16 x 16, joint attention over space and time. Its 75 epochs have two
clips of each video; an epoch has one here, of half the videos two. 2.4e-3 is its rate for 256 clips, each repetition
counted; it is published with ViT-L, and is taken for ViT-B as well. The paper names no recipe for videos. Not run at
this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-base-p16_finetune_8xb16-amp-coslr-150e_k400.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../_base_/models/transfer_vit-base-p16.py',
    '../../_base_/datasets/video-classes_16x4_224.py',
    '../../_base_/schedules/adamw-layer-decay-coslr-100e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(tubelet_size=2),
    head=dict(num_classes=400, dropout=0.3),
)
optim_wrapper = dict(
    optimizer=dict(lr=2.4e-3 * 128 / 256),
    # No weight decay on positions, either.
    paramwise_cfg=dict(custom_keys={'pos_embed': dict(decay_mult=0.0)}),
    clip_grad=dict(max_norm=5.0),
)
auto_scale_lr = dict(base_batch_size=128)

train_cfg = dict(max_epochs=150)
param_scheduler = [
    dict(type='WarmupLR', share=10 / 150, by_epoch=False),
    dict(
        type='CosineLR',
        warmup_share=10 / 150,
        eta_min_ratio=1e-6 / (2.4e-3 * 128 / 256),
        by_epoch=False,
    ),
]
