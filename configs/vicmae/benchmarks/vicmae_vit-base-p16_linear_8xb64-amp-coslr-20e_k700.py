# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of ViT-B/16 on Kinetics-700: the mean of frame features.

Kinetics-400's recipe. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-base-p16_linear_8xb64-amp-coslr-20e_k700.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_linear_8xb64-amp-coslr-20e_k400.py'

model = dict(head=dict(num_classes=700))
train_dataloader = dict(dataset=dict(data_root='data/kinetics700/train'))
val_dataloader = dict(dataset=dict(data_root='data/kinetics700/val'))
test_dataloader = dict(dataset=dict(data_root='data/kinetics700/val'))
