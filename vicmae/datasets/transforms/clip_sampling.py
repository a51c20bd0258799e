# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Which frames of a video are looked at."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from vicmae.registry import TRANSFORMS


@TRANSFORMS.register_module()
class DistantFramePair(BaseTransform):
    """The paper's distant sampling: a window is cut into equal segments, and one frame drawn from each.

    With the default of two segments of a 64/30 s window, the frames lie 1.07 s apart on average, as in the
    paper. A video shorter than the window is taken whole; one frame alone is taken twice.

    **Required keys:** num_frames, fps, rng. **Added keys:** frame_ids.

    Args:
        num_segments: Number of segments, hence of frames; `TwoViews` takes the first and the last.
        window_seconds: Length of the window, which lies anywhere in the video. None for the whole video.
    """

    def __init__(self, num_segments: int = 2, window_seconds: float | None = 64 / 30) -> None:
        if num_segments < 2:
            raise ValueError(f'`num_segments` must be at least 2 for a pair, got {num_segments}.')
        if window_seconds is not None and not window_seconds > 0:
            raise ValueError(
                f'`window_seconds` must be positive, got {window_seconds}. None takes the whole video.'
            )
        self.num_segments = num_segments
        self.window_seconds = window_seconds

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        rng: np.random.Generator = results['rng']
        num_frames = results['num_frames']
        window = num_frames
        if self.window_seconds is not None:
            window = min(
                num_frames, max(self.num_segments, round(self.window_seconds * results['fps']))
            )
        start = int(rng.integers(num_frames - window + 1))
        positions = (
            np.arange(self.num_segments) + rng.random(self.num_segments)
        ) / self.num_segments
        ids = start + (positions * window).astype(int)
        return {**results, 'frame_ids': ids.tolist()}

    def __repr__(self) -> str:
        return f'DistantFramePair(num_segments={self.num_segments}, window_seconds={self.window_seconds})'


@TRANSFORMS.register_module()
class UniformFrames(BaseTransform):
    """The middle frames of equal segments of the whole video: the same each time, for evaluation.

    **Required keys:** num_frames. **Added keys:** frame_ids.

    Args:
        num_frames: Number of frames; a shorter video gives some of them twice.
    """

    def __init__(self, num_frames: int = 8) -> None:
        if num_frames < 1:
            raise ValueError(f'`num_frames` must be positive, got {num_frames}.')
        self.num_frames = num_frames

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        positions = (np.arange(self.num_frames) + 0.5) / self.num_frames
        ids = (positions * results['num_frames']).astype(int)
        return {**results, 'frame_ids': ids.tolist()}

    def __repr__(self) -> str:
        return f'UniformFrames(num_frames={self.num_frames})'
