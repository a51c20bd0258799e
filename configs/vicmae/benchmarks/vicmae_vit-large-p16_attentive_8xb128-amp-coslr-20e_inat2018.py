# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Attentive probe of ViT-L/16 on iNaturalist-2018.

The recipe of ImageNet-1K, as the paper has no such figure. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-large-p16_attentive_8xb128-amp-coslr-20e_inat2018.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-large-p16_attentive_8xb128-amp-coslr-20e_in1k.py'

model = dict(head=dict(num_classes=8142))
train_dataloader = dict(dataset=dict(data_root='data/inaturalist2018/train'))
val_dataloader = dict(dataset=dict(data_root='data/inaturalist2018/val'))
test_dataloader = val_dataloader
