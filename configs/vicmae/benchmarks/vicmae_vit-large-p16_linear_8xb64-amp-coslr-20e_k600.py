# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of ViT-L/16 on Kinetics-600: the mean of frame features.

Kinetics-400's recipe. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-large-p16_linear_8xb64-amp-coslr-20e_k600.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-large-p16_linear_8xb64-amp-coslr-20e_k400.py'

model = dict(head=dict(num_classes=600))
train_dataloader = dict(dataset=dict(data_root='data/kinetics600/train'))
val_dataloader = dict(dataset=dict(data_root='data/kinetics600/val'))
test_dataloader = dict(dataset=dict(data_root='data/kinetics600/val'))
