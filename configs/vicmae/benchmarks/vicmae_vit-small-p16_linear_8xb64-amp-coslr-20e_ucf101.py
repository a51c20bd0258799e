# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of ViT-S/16 on UCF101: the mean of frame features.

Kinetics-400's recipe. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-small-p16_linear_8xb64-amp-coslr-20e_ucf101.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-small-p16_linear_8xb64-amp-coslr-20e_k400.py'

model = dict(head=dict(num_classes=101))
train_dataloader = dict(dataset=dict(data_root='data/ucf101/split1/train'))
val_dataloader = dict(dataset=dict(data_root='data/ucf101/split1/val'))
test_dataloader = dict(dataset=dict(data_root='data/ucf101/split1/val'))
