# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probes of the frozen features of OmniMAE's ViT-B/16 on ImageNet-1K.

An image is repeated to the two frames of a patch. Not run at this scale here.

    bash tools/dist_test.sh vit-base-p16_omnimae-800e-pre_probes_in1k CHECKPOINT 8
"""

_base_ = '../../vicmae/benchmarks/vit-base-p16_vicmae-800e-pre_probes_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='MaskedViT',
        tubelet_size=2,
        pos_embed_type='sinusoid',
        with_cls_token=False,
    ),
)
