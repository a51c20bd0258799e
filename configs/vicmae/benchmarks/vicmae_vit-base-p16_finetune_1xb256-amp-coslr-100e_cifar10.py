# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-B/16 on CIFAR-10, and is the base of the other small sets.

ImageNet's recipe at a batch of 256, on one GPU. The paper names no small set. Data:
data/cifar10/{train,val}/<class>/*. Not run at this scale here.

    python tools/train.py configs/vicmae/benchmarks/vicmae_vit-base-p16_finetune_1xb256-amp-coslr-100e_cifar10.py \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_finetune_8xb128-amp-coslr-100e_in1k.py'

model = dict(head=dict(num_classes=10))
train_dataloader = dict(batch_size=256, dataset=dict(data_root='data/cifar10/train'))
val_dataloader = dict(dataset=dict(data_root='data/cifar10/val'))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=5e-4 * 256 / 256))
param_scheduler = [
    dict(type='WarmupLR', share=5 / 100, by_epoch=False),
    dict(
        type='CosineLR',
        warmup_share=5 / 100,
        eta_min_ratio=1e-6 / (5e-4 * 256 / 256),
        by_epoch=False,
    ),
]
auto_scale_lr = dict(base_batch_size=256)
