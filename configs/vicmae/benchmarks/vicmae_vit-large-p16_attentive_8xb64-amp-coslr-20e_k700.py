# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Attentive probe of ViT-L/16 on Kinetics-700: over patches, then over frames.

Kinetics-400's recipe. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-large-p16_attentive_8xb64-amp-coslr-20e_k700.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-large-p16_attentive_8xb64-amp-coslr-20e_k400.py'

model = dict(head=dict(num_classes=700))
train_dataloader = dict(dataset=dict(data_root='data/kinetics700/train'))
val_dataloader = dict(dataset=dict(data_root='data/kinetics700/val'))
test_dataloader = dict(dataset=dict(data_root='data/kinetics700/val'))
