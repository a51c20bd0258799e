# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from ._frames import FrameSequence
from .reader import READERS, VideoReader, open_video

__all__ = ['READERS', 'FrameSequence', 'VideoReader', 'open_video']
