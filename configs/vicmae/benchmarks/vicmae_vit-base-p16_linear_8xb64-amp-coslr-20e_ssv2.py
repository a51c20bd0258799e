# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of ViT-B/16 on Something-Something v2: the mean of frame features.

No flips: the classes know left from right. Kinetics-400's recipe. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-base-p16_linear_8xb64-amp-coslr-20e_ssv2.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-base-p16_linear_8xb64-amp-coslr-20e_k400.py'

model = dict(head=dict(num_classes=174))

train_dataloader = _base_.train_dataloader
train_dataloader.dataset.update(data_root='data/ssv2', ann_file='train.txt')
del train_dataloader.dataset.pipeline[3].transforms[1]  # RandomFlip
val_dataloader = dict(dataset=dict(data_root='data/ssv2', ann_file='val.txt'))
test_dataloader = dict(dataset=dict(data_root='data/ssv2', ann_file='val.txt'))
