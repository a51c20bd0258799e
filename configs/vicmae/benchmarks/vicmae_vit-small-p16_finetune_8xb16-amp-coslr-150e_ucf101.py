# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-S/16 on UCF101.

Kinetics-400's recipe; of the three splits the first, as class folders. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-small-p16_finetune_8xb16-amp-coslr-150e_ucf101.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-small-p16_finetune_8xb16-amp-coslr-150e_k400.py'

model = dict(head=dict(num_classes=101))
train_dataloader = dict(dataset=dict(data_root='data/ucf101/split1/train'))
val_dataloader = dict(dataset=dict(data_root='data/ucf101/split1/val'))
test_dataloader = dict(dataset=dict(data_root='data/ucf101/split1/val'))
