# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .image_folder import ImageFolder
from .mixed import MixedDataset
from .sample_key import SampleKey
from .samplers import MixtureSampler
from .transforms import *  # noqa: F403
from .video_folder import VideoFolder

__all__ = ['ImageFolder', 'MixedDataset', 'MixtureSampler', 'SampleKey', 'VideoFolder']
