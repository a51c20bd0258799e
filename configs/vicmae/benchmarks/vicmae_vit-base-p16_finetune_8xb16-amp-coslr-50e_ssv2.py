# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-B/16 on Something-Something v2.

One frame from each sixteenth of the video, and no flips: its classes know left from right. Rates (5e-4 for 256 clips,
less by 0.75 from layer to layer), epochs and no dropout are VideoMAE's; in tests 2 clips x 3 crops. Videos are named in
data/ssv2/train.txt and data/ssv2/val.txt, a line for each: `videos/1234.webm 12`. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-base-p16_finetune_8xb16-amp-coslr-50e_ssv2.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_finetune_8xb16-amp-coslr-150e_k400.py'

model = dict(head=dict(num_classes=174, dropout=0.0))

train_dataloader = _base_.train_dataloader
train_dataloader.dataset.update(data_root='data/ssv2', ann_file='train.txt')
train_dataloader.dataset.pipeline[1] = dict(type='SegmentFrames')
del train_dataloader.dataset.pipeline[3].transforms[1]  # RandomFlip

val_dataloader = _base_.val_dataloader
val_dataloader.dataset.update(data_root='data/ssv2', ann_file='val.txt')
val_dataloader.dataset.pipeline[1] = dict(type='UniformFrames')

test_dataloader = _base_.test_dataloader
test_dataloader.dataset.update(data_root='data/ssv2', ann_file='val.txt')
test_dataloader.dataset.pipeline[1] = dict(type='UniformFrames', num_clips=2)

optim_wrapper = dict(
    optimizer=dict(lr=5e-4 * 128 / 256),
    paramwise_cfg=dict(layer_decay_rate=0.75),
    clip_grad=None,
)
train_cfg = dict(max_epochs=50)
param_scheduler = [
    dict(type='WarmupLR', share=5 / 50, by_epoch=False),
    dict(
        type='CosineLR',
        warmup_share=5 / 50,
        eta_min_ratio=1e-6 / (5e-4 * 128 / 256),
        by_epoch=False,
    ),
]
