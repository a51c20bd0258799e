# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-B/16 on SUN397.

The recipe of the small sets. Data: data/sun397/{train,val}/<class>/*. Not run at this scale here.

    python tools/train.py configs/vicmae/benchmarks/vicmae_vit-base-p16_finetune_1xb256-amp-coslr-100e_sun397.py \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_finetune_1xb256-amp-coslr-100e_cifar10.py'

model = dict(head=dict(num_classes=397))
train_dataloader = dict(dataset=dict(data_root='data/sun397/train'))
val_dataloader = dict(dataset=dict(data_root='data/sun397/val'))
test_dataloader = val_dataloader
