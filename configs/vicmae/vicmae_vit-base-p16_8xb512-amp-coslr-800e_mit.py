# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE, ViT-B/16, Moments in Time alone.

data/lists/mit.txt has a line for each training video, its path below data/, such as
moments_in_time/train/adult+female+singing/ID.mp4. Write it yourself for now: a tool for lists by video id comes later.
The paper has no figures for this size. Not run at this scale here.

    bash tools/dist_train.sh vicmae_vit-base-p16_8xb512-amp-coslr-800e_mit 8
"""

_base_ = './vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

train_dataloader = dict(
    dataset=dict(
        sources=dict(
            images=None,
            videos=dict(data_root='data', ann_file='lists/mit.txt'),
        ),
    ),
)
val_dataloader = dict(
    dataset=dict(
        sources=dict(
            image_bank=None,
            image_query=None,
            video_bank=dict(data_root='data/moments_in_time/train'),
            video_query=dict(data_root='data/moments_in_time/val'),
        ),
    ),
)
test_dataloader = val_dataloader
