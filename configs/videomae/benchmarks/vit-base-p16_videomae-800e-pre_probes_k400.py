# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
r"""kNN and linear probes of the frozen features of VideoMAE's ViT-B/16 on Kinetics-400.

The feature of a video is that of a clip in its middle: 16 frames, 4 apart. Not run at this scale here.

    bash tools/dist_test.sh vit-base-p16_videomae-800e-pre_probes_k400 CHECKPOINT 8
"""

_base_ = '../../vicmae/benchmarks/vit-base-p16_vicmae-800e-pre_probes_k400.py'

num_frames = 16  # of a clip

model = dict(
    backbone=dict(
        _delete_=True,
        type='MaskedViT',
        tubelet_size=2,
        pos_embed_type='sinusoid',
        with_cls_token=False,
    ),
)
test_video = [
    dict(type='OpenVideo'),
    dict(type='UniformClips', num_clips=1, frame_stride=4),
    dict(type='DecodeFrames'),
    dict(type='CenterCrop'),
    dict(type='PackClip'),
]
test_dataloader = dict(
    dataset=dict(
        sources=dict(
            video_bank=dict(pipeline=test_video),
            video_query=dict(pipeline=test_video),
        ),
    ),
)
