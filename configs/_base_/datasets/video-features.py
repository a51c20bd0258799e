# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Videos whose features are computed once: those of `data_root`/train vote for those of `data_root`/val.

The feature of a video is the mean of those of eight frames, spread over the whole video.

DINO's kNN (10, 20, 100 and 200 neighbours, temperature 0.07), and a linear classifier for each learning rate of a
sweep, all in one pass. Features are stored in work_dirs/features, so that further probes cost minutes.
"""

num_frames = 8  # of a clip

test_video = [
    dict(type='OpenVideo'),
    dict(type='UniformFrames'),
    dict(type='DecodeFrames'),
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
            video_bank=dict(
                type='VideoFolder',
                data_prefix='train',
                with_labels=True,
                tags=dict(probe='videos', role='bank'),
                pipeline=test_video,
            ),
            video_query=dict(
                type='VideoFolder',
                data_prefix='val',
                with_labels=True,
                tags=dict(probe='videos', role='query'),
                pipeline=test_video,
            ),
        ),
    ),
)
test_evaluator = [
    dict(type='KNNAccuracy', k=[10, 20, 100, 200], temperature=0.07),
    dict(type='LinearProbeAccuracy'),
]
test_cfg = dict(type='FeatureTestLoop')
