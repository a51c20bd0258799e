# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Attentive probe of ViT-S/16 on Places365.

The recipe of ImageNet-1K, as the paper has no such figure. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-small-p16_attentive_8xb128-amp-coslr-20e_places365.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-small-p16_attentive_8xb128-amp-coslr-20e_in1k.py'

model = dict(head=dict(num_classes=365))
train_dataloader = dict(dataset=dict(data_root='data/places365/train'))
val_dataloader = dict(dataset=dict(data_root='data/places365/val'))
test_dataloader = val_dataloader
