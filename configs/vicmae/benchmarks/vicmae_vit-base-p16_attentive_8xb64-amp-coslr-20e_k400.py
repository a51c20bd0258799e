# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""Attentive probe of ViT-B/16 on Kinetics-400: over patches, then over frames.

Eight frames of the whole video are encoded as images, as in pretraining; one learned query pools the patches of each,
another the frames. The recipe is ours. Not run at this scale here.

    bash tools/dist_train.sh \
        configs/vicmae/benchmarks/vicmae_vit-base-p16_attentive_8xb64-amp-coslr-20e_k400.py 8 \
        --cfg-options model.pretrained=CHECKPOINT
"""

_base_ = [
    '../../_base_/models/probe_vit-base-p16.py',
    '../../_base_/datasets/video-frames_8_224.py',
    '../../_base_/schedules/adamw-coslr-20e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    aggregator=dict(type='AttentionPooling', num_heads=12),
    over_time=dict(type='AttentionOverTime', num_heads=12),
    head=dict(num_classes=400, norm=None),
)
auto_scale_lr = dict(base_batch_size=512)
