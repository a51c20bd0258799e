# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""One ViT-B/16 for the classes of ImageNet-1K and Kinetics-400, fine-tuned or trained from scratch.

The recipe is our own: MAE's fine-tuning, on images and clips together. It stands for the supervised joint models of
ViC-MAE's table, Omnivore and TubeViT, which have other backbones and more data. Not run at this scale here.

    bash tools/dist_train.sh supervised-joint_vit-base-p16_8xb64-coslr-100e_in1k-k400 8 \
        --cfg-options model.pretrained=CHECKPOINT

From scratch, without `model.pretrained`, add `optim_wrapper.paramwise_cfg.layer_decay_rate=1.0`. A larger model is
`model_size=large`. `train_dataloader.batch_sampler.type=OneSourceBatches` makes batches of images or of clips alone.
"""

_base_ = [
    '../_base_/models/supervised-joint_vit-base-p16.py',
    '../_base_/datasets/in1k-k400-classes.py',
    '../_base_/schedules/adamw-layer-decay-coslr-100e.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(
    optimizer=dict(lr=5e-4 * 512 / 256),
    # No weight decay on positions, either.
    paramwise_cfg=dict(custom_keys={'pos_embed': dict(decay_mult=0.0)}),
    clip_grad=dict(max_norm=5.0),
)
auto_scale_lr = dict(base_batch_size=512)
param_scheduler = [
    dict(type='WarmupLR', share=0.05, by_epoch=False),
    dict(
        type='CosineLR',
        warmup_share=0.05,
        eta_min_ratio=1e-6 / (5e-4 * 512 / 256),
        by_epoch=False,
    ),
]
