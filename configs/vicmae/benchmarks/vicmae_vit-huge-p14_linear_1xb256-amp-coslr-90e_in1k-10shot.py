# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of ViT-H/14 on 10 images of each class of ImageNet-1K.

The recipe is ours: AdamW, 1e-3, as the steps are too few for LARS; the paper has no low-shot figures.
`train_dataloader.dataset.subset_seed` draws the images: report several. Not run at this scale here.

    python tools/train.py configs/vicmae/benchmarks/vicmae_vit-huge-p14_linear_1xb256-amp-coslr-90e_in1k-10shot.py \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-huge-p14_linear_8xb2048-amp-lars-coslr-50e_in1k.py'

train_dataloader = dict(
    batch_size=256,
    dataset=dict(max_per_class=10, subset_seed=0),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.0),
    paramwise_cfg=dict(_delete_=True, flat_decay_mult=0.0),
)
auto_scale_lr = dict(base_batch_size=256)
train_cfg = dict(max_epochs=90)
param_scheduler = [
    dict(type='WarmupLR', share=10 / 90, by_epoch=False),
    dict(type='CosineLR', warmup_share=10 / 90, by_epoch=False),
]
