# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-B/16 on HMDB51.

Kinetics-400's recipe; of the three splits the first, as class folders. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-base-p16_finetune_8xb16-amp-coslr-150e_hmdb51.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_finetune_8xb16-amp-coslr-150e_k400.py'

model = dict(head=dict(num_classes=51))
train_dataloader = dict(dataset=dict(data_root='data/hmdb51/split1/train'))
val_dataloader = dict(dataset=dict(data_root='data/hmdb51/split1/val'))
test_dataloader = dict(dataset=dict(data_root='data/hmdb51/split1/val'))
