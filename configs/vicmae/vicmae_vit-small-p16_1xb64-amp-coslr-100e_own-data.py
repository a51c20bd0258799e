# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A start for your own pictures and clips: ViT-S/16 on one GPU (or a CPU, slowly), no labels needed.

`vicmae train --images DIR --videos DIR --out DIR` writes a short config on top of this one. For files below data/images
and data/videos, in any folders:

    vicmae train vicmae_vit-small-p16_1xb64-amp-coslr-100e_own-data

Not run at this scale here.
"""

_base_ = './vicmae_vit-small-p16_8xb512-amp-coslr-800e_in1k-k400.py'

train_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=dict(
        sources=dict(
            images=dict(data_root='data/images'),
            videos=dict(data_root='data/videos'),
        )
    ),
)

# No labels, no probe. vicmae_vit-tiny-p8_demo.py shows what labelled files give.
val_dataloader = None
val_evaluator = None
val_cfg = None
test_dataloader = None
test_evaluator = None
test_cfg = None

# By the square root of the batch size; the paper's rule is linear, and starts from 4096.
optim_wrapper = dict(optimizer=dict(lr=1e-3 * (64 / 256) ** 0.5))
auto_scale_lr = dict(base_batch_size=64)
train_cfg = dict(max_epochs=100)
