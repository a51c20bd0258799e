# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""ViC-MAE, ViT-B/16, with the arithmetic of the official code where that is not the paper's.

| | paper (the base of this config) | official code (this config) |
|---|---|---|
| hidden patches | 0.75 | 0.5 |
| heads | predictor P, target head T | one projector for both sides, batch norm for each view apart |
| weights of the losses | 1 and a ramp up to 0.03 | 0.97 and 0.03 from the start |
| views | colours on images, crops alone on frames | one recipe for both; blur on view 1, solarise on view 2 |
| batch | 512 pairs a process | 8 x 128 pairs contrasted, 4 such steps added up before the weights move |

tests/parity compares the losses and all gradients with the formulas. What stays ours: the blur draws a width for
each view, before pixels are normalised (there: one for a batch, after it); 800 epochs, not 801; a video's frames are
drawn again at the paper's distance (there: pairs that were stored).

On several processes the official loss counts the pairs at the same place in the other processes' batches as positives,
too. This one doesn't, unless you set it: `--cfg-options model.head.contrastive.compat_rank_local_ids=True`.

Not run at this scale here.

    bash tools/dist_train.sh \\
        configs/vicmae/vicmae_vit-base-p16_official-code_8xb128-accum4-amp-coslr-800e_in1k-k400.py 8
"""

_base_ = './vicmae_vit-base-p16_8xb512-amp-coslr-800e_in1k-k400.py'

model = dict(
    backbone=dict(
        masking=dict(mask_ratio=0.5),
    ),
    projector=dict(type='MLPHead', norm='BN'),
    predictor=None,
    target=dict(_delete_=True, type='SharedTarget'),  # no head: the projector's output
    head=dict(
        reconstruction=dict(norm_pix=True),
        contrastive=dict(temperature=0.1),
        reconstruction_weight=0.97,
        contrastive_weight=0.03,
    ),
)

image_crop_and_flip = [
    dict(type='RandomResizedCrop', scale=(0.08, 1.0)),
    dict(type='RandomFlip'),
]
color_changes = [
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='RandomGrayscale', prob=0.2),
]
# Of frames, too.
image_views = dict(
    type='TwoViews',
    on_device=True,
    transforms=[
        *image_crop_and_flip,
        *color_changes,
        dict(type='GaussianBlur', kernel_size=(5, 9), sigma=(0.1, 2.0), prob=1.0),
    ],
    second=[
        *image_crop_and_flip,
        *color_changes,
        dict(type='RandomSolarize', threshold=128, prob=0.2),
    ],
)
train_image = [dict(type='LoadImage', lazy=True), image_views, dict(type='PackViews')]
train_video = [
    dict(type='OpenVideo'),
    _base_.frame_pair,
    dict(type='DecodeFrames'),
    image_views,
    dict(type='PackViews'),
]
train_dataloader = dict(
    batch_size=128,
    dataset=dict(
        sources=dict(
            images=dict(pipeline=train_image),
            videos=dict(pipeline=train_video),
        )
    ),
)

optim_wrapper = dict(
    dtype='float16',
    accumulative_counts=4,
    optimizer=dict(lr=1.5e-4 * 8 * 128 * 4 / 256),
)
auto_scale_lr = dict(base_batch_size=8 * 128 * 4)  # processes, batch of each, accumulated steps

custom_hooks = []  # no ramp of the weights
