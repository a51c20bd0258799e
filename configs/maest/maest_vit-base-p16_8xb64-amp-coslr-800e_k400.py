# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""MAE-ST, ViT-B/16, clips of Kinetics-400 (https://arxiv.org/abs/2205.09113).

The paper's recipe for 512 clips in a step, four of each video that is opened. Epochs count these repetitions, as the
paper's do: in 800 epochs, each video is opened 200 times. After fine-tuning, the authors report 81.3 on Kinetics-400.
Not run at this scale here.

    bash tools/dist_train.sh maest_vit-base-p16_8xb64-amp-coslr-800e_k400 8
"""

_base_ = [
    '../_base_/models/maest_vit-base-p16.py',
    '../_base_/datasets/k400-clips.py',
    '../_base_/schedules/adamw-coslr-800e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(
    batch_size=64,
    dataset=dict(sources=dict(videos=dict(visits_per_opening=4))),
)
optim_wrapper = dict(
    optimizer=dict(lr=1.6e-3),
    clip_grad=dict(max_norm=0.02),
)
auto_scale_lr = dict(base_batch_size=512)
param_scheduler = [
    dict(type='WarmupLR', share=120 / 800, by_epoch=False),
    dict(type='CosineLR', warmup_share=120 / 800, by_epoch=False),
]
