# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Fine-tunes ViT-S/16 on 10 % of ImageNet-1K, of each class alike.

The recipe for all of it; the paper has no low-shot figures. `train_dataloader.dataset.subset_seed` draws the
images: report several. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-small-p16_finetune_8xb128-amp-coslr-100e_in1k-10pct.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = './vicmae_vit-small-p16_finetune_8xb128-amp-coslr-100e_in1k.py'

train_dataloader = dict(dataset=dict(share_per_class=0.1, subset_seed=0))
