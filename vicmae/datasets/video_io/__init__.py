# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .reader import VideoReader, open_video

__all__ = ['VideoReader', 'open_video']
