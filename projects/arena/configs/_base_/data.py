# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The data of all rows of the arena: images and videos without labels, packed by `run.py`.

An epoch is the whole run: `run.py` sets its number of samples. Videos are never flipped, since some classes differ in
left and right alone. Images and videos are sampled 5 to 3: an image once while a video is seen 2.4 times.
"""

image_shards = ['data/arena/images/fit', 'data/arena/images/dev']
video_shards = [
    f'data/arena/{name}/{part}'
    for name in ('unlabelled', 'ut', 'skate', 'utdd', 'utdc')
    for part in (('fit',) if name == 'unlabelled' else ('fit', 'dev'))
]

image_crop = dict(type='RandomResizedCrop', scale=(0.2, 1.0))
video_crop = dict(type='RandomResizedCrop', scale=(0.5, 1.0))
flip = dict(type='RandomFlip')
colours = [
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, prob=0.8),
    dict(type='RandomGrayscale', prob=0.2),
]

# One view, for methods that reconstruct. A video is a clip of 8 frames, one from each eighth of it, or a frame.
one_image = [
    dict(type='LoadImage', lazy=True),
    dict(type='OneView', on_device=True, transforms=[image_crop, flip]),
    dict(type='PackViews'),
]
one_frame = [
    dict(type='OpenVideo'),
    dict(type='SameFramePair'),
    dict(type='DecodeFrames'),
    dict(type='OneView', on_device=True, transforms=[video_crop]),
    dict(type='PackViews'),
]
one_clip = [
    dict(type='OpenVideo'),
    dict(type='SegmentFrames'),
    dict(type='DecodeFrames'),
    dict(type='ClipViews', on_device=True, transforms=[video_crop]),
    dict(type='PackViews'),
]
# Two views, for methods that contrast.
image_pair = [
    dict(type='LoadImage', lazy=True),
    dict(type='TwoViews', on_device=True, transforms=[image_crop, flip, *colours]),
    dict(type='PackViews'),
]
frame_pair = [
    dict(type='OpenVideo'),
    dict(type='DistantFramePair'),
    dict(type='DecodeFrames'),
    dict(type='TwoViews', on_device=True, transforms=[video_crop]),
    dict(type='PackViews'),
]
clip_pair = [
    dict(type='OpenVideo'),
    dict(type='DistantClips', num_segments=2, frame_stride=1),
    dict(type='DecodeFrames'),
    dict(type='ClipViews', on_device=True, transforms=[video_crop]),
    dict(type='PackViews'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    collate_fn=dict(type='collate_by_kind'),
    sampler=dict(type='MixtureSampler'),
    dataset=dict(
        type='MixedDataset',
        sources=dict(
            images=dict(type='ImageShards', shards=image_shards, pipeline=image_pair),
            videos=dict(type='VideoShards', shards=video_shards, pipeline=frame_pair),
        ),
        weights=dict(images=5, videos=3),
    ),
)
optim_wrapper = dict(
    constructor='CheckedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    paramwise_cfg=dict(flat_decay_mult=0.0),
)
auto_scale_lr = dict(base_batch_size=128)
train_cfg = dict(type='EpochLoop', max_epochs=1)
param_scheduler = [
    dict(type='WarmupLR', share=0.1, start_factor=0.01, by_epoch=False),
    dict(type='CosineLR', warmup_share=0.1, by_epoch=False),
]
