# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE on clips: ViT-B/16 of 16 frames, a pair is two clips of a video or two views of an image (not in the paper).

A tubelet has 2 frames; an image is repeated to one. Of an image 75 % is masked, of a clip 90 %. A step has images or
clips, so that the negatives are of the same kind. ViT-L: `--cfg-options model_size=large`. Not run at this scale here.

    bash tools/dist_train.sh configs/vicmae/vicmae_vit-base-p16_clips_8xb128-amp-coslr-800e_in1k-k400.py 8
"""

_base_ = [
    '../_base_/models/vicmae_vit-base-p16.py',
    '../_base_/datasets/in1k-k400-clips.py',
    '../_base_/schedules/adamw-coslr-800e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='MaskedViT',
        tubelet_size=2,
        masking=dict(
            type='ImageOrClipMasking',
            image=dict(type='RandomMasking', mask_ratio=0.75),
            clip=dict(type='RandomMasking', mask_ratio=0.9),
        ),
    ),
)

optim_wrapper = dict(optimizer=dict(lr=1.5e-4 * 1024 / 256))
auto_scale_lr = dict(base_batch_size=1024)
