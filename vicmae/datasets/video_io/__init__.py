# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .reader import READERS, VideoReader, open_video

__all__ = ['READERS', 'VideoReader', 'open_video']
