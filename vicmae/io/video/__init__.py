# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from ._frames import FrameSequence
from .open import open_video, seconds_of
from .reader import READERS, VideoReader

__all__ = ['READERS', 'FrameSequence', 'VideoReader', 'open_video', 'seconds_of']
