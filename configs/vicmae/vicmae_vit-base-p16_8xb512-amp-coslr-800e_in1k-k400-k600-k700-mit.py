# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE, ViT-B/16, the paper's largest mixture: ImageNet-1K, Kinetics-400, 600, 700 and Moments in Time.

data/lists/k400-k600-k700-mit.txt names each training video once, by its path below data/, such as
kinetics700/train/abseiling/ID.mp4: the sets of Kinetics share many videos. Write it yourself for now: a tool for lists
by video id comes later. Expected of the paper after fine-tuning: 83.8 ImageNet-1K, 80.9 Kinetics-400, 59.1 Places365,
69.8 Something-Something v2. Not run at this scale here.

    bash tools/dist_train.sh vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400-k600-k700-mit 8
"""

_base_ = './vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

train_dataloader = dict(
    dataset=dict(
        sources=dict(
            videos=dict(data_root='data', ann_file='lists/k400-k600-k700-mit.txt'),
        ),
    ),
)
