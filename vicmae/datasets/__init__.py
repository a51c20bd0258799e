# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .frame_folder import FrameFolder
from .image_folder import ImageFolder
from .mixed import MixedDataset
from .sample_key import SampleKey
from .samplers import MixtureSampler, OneSourceBatches
from .shard_source import ImageShards, VideoShards
from .transforms import *  # noqa: F403
from .video_folder import VideoFolder

__all__ = [
    'FrameFolder',
    'ImageFolder',
    'ImageShards',
    'MixedDataset',
    'MixtureSampler',
    'OneSourceBatches',
    'SampleKey',
    'VideoFolder',
    'VideoShards',
]
