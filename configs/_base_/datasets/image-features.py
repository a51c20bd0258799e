# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Images whose features are computed once: those of `data_root`/train vote for those of `data_root`/val.

DINO's kNN (10, 20, 100 and 200 neighbours, temperature 0.07), and a linear classifier for each learning rate of a
sweep, all in one pass. Features are stored in work_dirs/features, so that further probes cost minutes.
"""

test_image = [
    dict(type='LoadImage'),
    dict(type='CenterCrop'),
    dict(type='PackClip'),
]
test_dataloader = dict(
    batch_size=64,
    num_workers=12,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='MixedDataset',
        sources=dict(
            image_bank=dict(
                type='ImageFolder',
                data_prefix='train',
                with_labels=True,
                tags=dict(probe='images', role='bank'),
                pipeline=test_image,
            ),
            image_query=dict(
                type='ImageFolder',
                data_prefix='val',
                with_labels=True,
                tags=dict(probe='images', role='query'),
                pipeline=test_image,
            ),
        ),
    ),
)
test_evaluator = [
    dict(type='KNNAccuracy', k=[10, 20, 100, 200], temperature=0.07),
    dict(type='LinearProbeAccuracy'),
]
test_cfg = dict(type='FeatureTestLoop')
