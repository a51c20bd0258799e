# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .mixed import MixedDataset
from .sample_key import SampleKey
from .samplers import MixtureSampler, OneSourceBatches
from .sources.frame_folder import FrameFolder
from .sources.image_folder import ImageFolder
from .sources.shard_source import ImageShards, VideoShards
from .sources.video_folder import VideoFolder
from .transforms import *  # noqa: F403

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
