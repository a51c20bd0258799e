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
    paper, where it is the best of the frame gaps: 67.66 % on ImageNet-1K (ViT-B/16, linear probe). A video
    shorter than the window is taken whole; one frame alone is taken twice.

    **Required keys:** num_frames, fps, rng. **Added keys:** frame_ids.

    Args:
        num_segments: Number of segments, hence of frames; `TwoViews` takes the first and the last.
        window_seconds: Length of the window, which lies anywhere in the video. None for the whole video.
    """

    def __init__(self, num_segments: int = 2, window_seconds: float | None = 64 / 30) -> None:
        if num_segments < 2:
            raise ValueError(f'`num_segments` must be at least 2 for a pair, got {num_segments}.')
        self.num_segments = num_segments
        self.window_seconds = _check_window(window_seconds)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        rng: np.random.Generator = results['rng']
        start, window = _draw_window(results, self.window_seconds, at_least=self.num_segments)
        positions = (
            np.arange(self.num_segments) + rng.random(self.num_segments)
        ) / self.num_segments
        ids = start + (positions * window).astype(int)
        return {**results, 'frame_ids': ids.tolist()}

    def __repr__(self) -> str:
        return f'DistantFramePair(num_segments={self.num_segments}, window_seconds={self.window_seconds})'


@TRANSFORMS.register_module()
class SameFramePair(BaseTransform):
    """A frame gap of 0: one frame, drawn uniformly, of which `TwoViews` makes both views.

    The paper's figure for it is 63.25 % on ImageNet-1K (ViT-B/16, linear probe).

    **Required keys:** num_frames, rng. **Added keys:** frame_ids (only one, so that it is decoded once).
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        return {**results, 'frame_ids': [int(results['rng'].integers(results['num_frames']))]}

    def __repr__(self) -> str:
        return 'SameFramePair()'


@TRANSFORMS.register_module()
class FixedGapFramePair(BaseTransform):
    """Two frames that always lie equally far apart, anywhere in the video.

    The paper's figure for a gap of 4 is 65.25 % on ImageNet-1K (ViT-B/16, linear probe). A video that is too
    short for the gap gives its first and its last frame; `VideoFolder` refuses a gap too long for all its videos.

    **Required keys:** num_frames, fps, rng. **Added keys:** frame_ids.

    Args:
        gap: Distance of the two frames, positive.
        unit: What `gap` counts: 'frame', or 'second', which is rounded to whole frames, at least one.
    """

    UNITS = ('frame', 'second')

    def __init__(self, gap: float = 4, unit: str = 'frame') -> None:
        if unit not in self.UNITS:
            raise ValueError(f'`unit` must be one of {", ".join(self.UNITS)}, got {unit!r}.')
        if gap == 0:
            raise ValueError('`gap` must be positive, got 0. SameFramePair takes one frame twice.')
        if not 0 < gap < float('inf'):
            raise ValueError(f'`gap` must be a positive number, got {gap}.')
        if unit == 'frame' and gap != int(gap):
            raise ValueError(
                f"`gap` must be a whole number of frames, got {gap}. Seconds need `unit='second'`."
            )
        self.gap = gap
        self.unit = unit

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        num_frames, fps = results['num_frames'], results['fps']
        if not self.fits(num_frames, fps):
            return {**results, 'frame_ids': [0, num_frames - 1]}
        gap = self.gap_in_frames(fps)
        first = int(results['rng'].integers(num_frames - gap))
        return {**results, 'frame_ids': [first, first + gap]}

    def gap_in_frames(self, fps: float) -> int:
        """Distance of the two frames in a video of so many frames per second."""
        return int(self.gap) if self.unit == 'frame' else max(1, round(self.gap * fps))

    def fits(self, num_frames: int, fps: float) -> bool:
        """Whether two frames of such a video can lie that far apart."""
        return num_frames > self.gap_in_frames(fps)

    def __repr__(self) -> str:
        return f'FixedGapFramePair(gap={self.gap}, unit={self.unit!r})'


@TRANSFORMS.register_module()
class UniformFramePair(BaseTransform):
    """Two different frames, each pair as likely as any other, in order of time; one frame alone is taken twice.

    **Required keys:** num_frames, fps, rng. **Added keys:** frame_ids.

    Args:
        window_seconds: Length of the window that both come from, which lies anywhere in the video. None for the
            whole video.
    """

    def __init__(self, window_seconds: float | None = None) -> None:
        self.window_seconds = _check_window(window_seconds)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        start, window = _draw_window(results, self.window_seconds, at_least=2)
        if window == 1:
            return {**results, 'frame_ids': [start, start]}
        ids = start + np.sort(results['rng'].choice(window, size=2, replace=False))
        return {**results, 'frame_ids': ids.tolist()}

    def __repr__(self) -> str:
        return f'UniformFramePair(window_seconds={self.window_seconds})'


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


def _check_window(seconds: float | None) -> float | None:
    if seconds is not None and not seconds > 0:
        raise ValueError(
            f'`window_seconds` must be positive, got {seconds}. None takes the whole video.'
        )
    return seconds


def _draw_window(results: dict[str, Any], seconds: float | None, at_least: int) -> tuple[int, int]:
    """Draws where a window lies: its first frame and its number of frames, all of a video that is shorter."""
    num_frames = results['num_frames']
    window = num_frames
    if seconds is not None:
        window = min(num_frames, max(at_least, round(seconds * results['fps'])))
    return int(results['rng'].integers(num_frames - window + 1)), window
