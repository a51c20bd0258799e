# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Linear probe of ViT-H/14 on 5 images of each class of ImageNet-1K.

The recipe is ours: AdamW, 1e-3, as the steps are too few for LARS; the paper has no low-shot figures.
`train_dataloader.dataset.subset_seed` draws the images: report several. Not run at this scale here.

    python tools/train.py configs/vicmae/benchmarks/vicmae_vit-huge-p14_linear_1xb256-amp-coslr-90e_in1k-5shot.py \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-huge-p14_linear_1xb256-amp-coslr-90e_in1k-1shot.py'

train_dataloader = dict(dataset=dict(max_per_class=5))
