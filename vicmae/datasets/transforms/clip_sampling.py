# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Samples frames of a video.

Lengths in seconds are exact, even if the frame rate varies. Videos that are too short are used, and their number is
logged (`DataLogHook`).
"""

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from vicmae.errors import ConfigError
from vicmae.registry import TRANSFORMS

from .base import Transform
from .loading import DecodeFrames, OpenVideo


@TRANSFORMS.register_module()
class DistantFramePair(Transform):
    """Draws one frame from each of equal segments of a window: the paper's distant sampling.

    By default the frames are 1.07 s apart on average, the paper's best gap: 67.66 % on ImageNet-1K (ViT-B/16, linear
    probe). If a video is shorter than the window, all of it is used; a single frame is used twice.

    **Required keys:** num_frames, fps, rng. **Optional keys:** reader, notes. **Added keys:** frame_ids.

    Args:
        num_segments: Number of segments, and of frames, of which `TwoViews` uses the first and the last.
        window_seconds: Length of the window, anywhere in the video. None for the whole video.
        window_frames: The same in frames, instead of seconds.
    """

    def __init__(
        self,
        num_segments: int = 2,
        window_seconds: float | None = 64 / 30,
        window_frames: int | None = None,
    ) -> None:
        if num_segments < 2:
            raise ValueError(f'`num_segments` must be at least 2 for a pair, got {num_segments}.')
        self.num_segments = num_segments
        self.window = _Window(window_seconds, window_frames, at_least=num_segments)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        rng: np.random.Generator = results['rng']
        start, length = self.window.draw(results)
        count = self.num_segments
        ids = start + ((np.arange(count) + rng.random(count)) / count * length).astype(int)
        return {**results, 'frame_ids': self.window.frames_shown(results, ids)}


@TRANSFORMS.register_module()
class SameFramePair(Transform):
    """Draws one frame, from which `TwoViews` makes both views: a frame gap of 0.

    In the paper it gives 63.25 % on ImageNet-1K (ViT-B/16, linear probe).

    **Required keys:** num_frames, rng. **Added keys:** frame_ids (only one, so that it is decoded once).
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        return {**results, 'frame_ids': [int(results['rng'].integers(results['num_frames']))]}


@TRANSFORMS.register_module()
class SegmentFrames(DistantFramePair):
    """Samples one frame anywhere in each of equal segments of the whole video, in order of time.

    **Required keys:** num_frames, fps, rng. **Optional keys:** reader, notes. **Added keys:** frame_ids.

    Args:
        num_frames: Number of segments and of frames.
    """

    follows: ClassVar = dict(num_frames='num_frames')

    def __init__(self, num_frames: int = 8) -> None:
        super().__init__(num_segments=num_frames, window_seconds=None)


@TRANSFORMS.register_module()
class FixedGapFramePair(Transform):
    """Draws two frames at a fixed distance, anywhere in the video.

    In the paper a gap of 4 gives 65.25 % on ImageNet-1K (ViT-B/16, linear probe). From a video that is too short
    for the gap, the first and the last frame are used. `VideoFolder` raises an error if all its videos are too short.

    **Required keys:** num_frames, fps, rng. **Optional keys:** reader, notes. **Added keys:** frame_ids.

    Args:
        gap: Distance of the two frames, above 0.
        unit: Unit of `gap`: 'frame' or 'second'. Seconds are rounded to whole frames, at least one.
    """

    UNITS = ('frame', 'second')

    def __init__(self, gap: float = 4, unit: str = 'frame') -> None:
        if unit not in self.UNITS:
            raise ValueError(f'`unit` must be one of {", ".join(self.UNITS)}, got {unit!r}.')
        if gap == 0:
            raise ValueError(
                '`gap` must be positive, got 0. Use SameFramePair for two views of one frame.'
            )
        if not 0 < gap < float('inf'):
            raise ValueError(f'`gap` must be a positive number, got {gap}.')
        if unit == 'frame' and gap != int(gap):
            raise ValueError(
                f"`gap` must be an integer number of frames, got {gap}. For seconds, set `unit='second'`."
            )
        self.gap = gap
        self.unit = unit

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        num_frames, fps = results['num_frames'], results['fps']
        if not self.fits(num_frames, fps):
            _note(
                results,
                'a video shorter than the frame gap: first and last frame taken (`gap=` lowers it)',
            )
            return {**results, 'frame_ids': [0, num_frames - 1]}
        gap = self.gap_in_frames(fps)
        first = int(results['rng'].integers(num_frames - gap))
        pair = np.array([first, first + gap])
        ids = pair.tolist() if self.unit == 'frame' else _frames_shown(results, pair)
        return {**results, 'frame_ids': ids}

    def gap_in_frames(self, fps: float) -> int:
        """Returns the distance of the two frames, in frames, in a video of `fps` frames per second."""
        return int(self.gap) if self.unit == 'frame' else max(1, round(self.gap * fps))

    def fits(self, num_frames: int, fps: float) -> bool:
        """Returns whether a video has two frames at that distance."""
        return num_frames > self.gap_in_frames(fps)


@TRANSFORMS.register_module()
class UniformFramePair(Transform):
    """Draws two different frames uniformly among all pairs, and sorts them by time.

    The frame of a video with a single one is used twice.

    **Required keys:** num_frames, fps, rng. **Optional keys:** reader, notes. **Added keys:** frame_ids.

    Args:
        window_seconds: Length of a window, anywhere in the video, from which both are drawn. None for the whole video.
        window_frames: The same in frames, instead of seconds.
    """

    def __init__(
        self, window_seconds: float | None = None, window_frames: int | None = None
    ) -> None:
        self.window = _Window(window_seconds, window_frames, at_least=2)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        start, length = self.window.draw(results)
        if length == 1:
            return {**results, 'frame_ids': [start, start]}
        ids = start + np.sort(results['rng'].choice(length, size=2, replace=False))
        return {**results, 'frame_ids': self.window.frames_shown(results, ids)}


@TRANSFORMS.register_module()
class DistantClips(Transform):
    """Draws one clip from each of equal segments of the video: distant sampling for clip models.

    A clip that is longer than its segment extends into the next one. A clip that is longer than the video repeats the
    last frame. With one segment, the clip is anywhere in the video, as in the training of classifiers.

    **Required keys:** num_frames, fps, rng. **Optional keys:** notes.
    **Added keys:** frame_ids (those of all clips, clip by clip), num_clips, clip_len.

    Args:
        num_segments: Number of segments, each with one clip.
        clip_len: Frames of a clip.
        frame_stride: Distance of a clip's frames.
    """

    follows: ClassVar = dict(clip_len='num_frames')

    def __init__(self, num_segments: int = 2, *, clip_len: int = 16, frame_stride: int = 4) -> None:
        _require_positive(num_segments=num_segments, clip_len=clip_len, frame_stride=frame_stride)
        self.num_segments = num_segments
        self.clip_len = clip_len
        self.frame_stride = frame_stride

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        num_frames = results['num_frames']
        span = _span(results, self.clip_len, self.frame_stride)
        segment = num_frames / self.num_segments
        room = max(segment - span + 1, 1)  # possible first frames of a clip inside its segment
        offsets = results['rng'].random(self.num_segments) * room
        starts = np.arange(self.num_segments) * segment + offsets
        starts = np.clip(starts.astype(int), 0, max(num_frames - span, 0))
        return _with_clips(results, starts, self.clip_len, self.frame_stride)


@TRANSFORMS.register_module()
class UniformClips(Transform):
    """Samples clips that are evenly spaced from the first to the last frame of the video, for evaluation.

    A single clip is in the middle. A clip that is longer than the video repeats the last frame.

    **Required keys:** num_frames. **Optional keys:** notes.
    **Added keys:** frame_ids (those of all clips, clip by clip), num_clips, clip_len.

    Args:
        num_clips: Number of clips.
        clip_len: Frames of a clip.
        frame_stride: Distance of a clip's frames.
    """

    follows: ClassVar = dict(clip_len='num_frames')

    def __init__(self, num_clips: int = 1, *, clip_len: int = 16, frame_stride: int = 4) -> None:
        _require_positive(num_clips=num_clips, clip_len=clip_len, frame_stride=frame_stride)
        self.num_clips = num_clips
        self.clip_len = clip_len
        self.frame_stride = frame_stride

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        num_frames = results['num_frames']
        room = num_frames - _span(results, self.clip_len, self.frame_stride)
        positions = np.linspace(0, 1, self.num_clips) if self.num_clips > 1 else np.array([0.5])
        starts = (positions * max(room, 0)).astype(int)
        return _with_clips(results, starts, self.clip_len, self.frame_stride)


@TRANSFORMS.register_module()
class UniformFrames(Transform):
    """Samples the middle frames of equal segments of the whole video, for evaluation.

    For several clips, each segment is divided into one part per clip, and clip i has the middle frames of the parts i.

    **Required keys:** num_frames. **Added keys:** frame_ids (those of all clips, clip by clip), num_clips, clip_len.

    Args:
        num_frames: Number of frames of a clip. Frames of a shorter video are repeated.
        num_clips: Number of clips.
    """

    follows: ClassVar = dict(num_frames='num_frames')

    def __init__(self, num_frames: int = 8, num_clips: int = 1) -> None:
        _require_positive(num_frames=num_frames, num_clips=num_clips)
        self.num_frames = num_frames
        self.num_clips = num_clips

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        within = (np.arange(self.num_clips) + 0.5) / self.num_clips  # of a segment
        positions = (np.arange(self.num_frames) + within[:, None]) / self.num_frames
        return _with_frames(results, (positions * results['num_frames']).astype(int))


def require_open_video(transforms: Iterable[Any]) -> None:
    """Raises a ConfigError if a pipeline samples or decodes frames before it opens a video."""
    for transform in transforms:
        cls = type(transform)
        # A user's transform may open the video.
        if isinstance(transform, OpenVideo) or not cls.__module__.startswith('vicmae.'):
            return
        if cls.__module__ == __name__ or isinstance(transform, DecodeFrames):
            raise ConfigError(
                f'{cls.__name__} needs an open video, but no earlier transform opens one. Put '
                "`dict(type='OpenVideo')` first."
            )


class _Window:
    """A window at a random position of a video, in seconds or in frames, of at least `at_least` frames."""

    def __init__(self, seconds: float | None, frames: int | None, *, at_least: int) -> None:
        if frames is not None:
            if frames < at_least:
                raise ValueError(f'`window_frames` must be at least {at_least}, got {frames}.')
            seconds = None  # it may be the default of DistantFramePair
        if seconds is not None and not seconds > 0:
            raise ValueError(
                f'`window_seconds` must be positive, got {seconds}. None takes the whole video.'
            )
        self.seconds, self.frames, self.at_least = seconds, frames, at_least

    def draw(self, results: dict[str, Any]) -> tuple[int, int]:
        """Draws the first frame and returns it with the number of frames. A shorter video is used as a whole."""
        num_frames = results['num_frames']
        length = num_frames
        if self.frames is not None:
            length = self.frames
        elif self.seconds is not None:
            length = max(self.at_least, round(self.seconds * results['fps']))
        if length > num_frames:
            option = 'window_seconds' if self.frames is None else 'window_frames'
            _note(results, f'a video shorter than the window, taken whole (`{option}=` lowers it)')
            length = num_frames
        return int(results['rng'].integers(num_frames - length + 1)), length

    def frames_shown(self, results: dict[str, Any], ids: np.ndarray) -> list[int]:
        """Returns the frames at these positions, by number if the window is in frames, else by time."""
        return ids.tolist() if self.frames is not None else _frames_shown(results, ids)

    def __repr__(self) -> str:
        if self.frames is not None:
            return f'{self.frames} frames'
        return f'{round(self.seconds, 3)} s' if self.seconds else 'the whole video'


def _frames_shown(results: dict[str, Any], ticks: np.ndarray) -> list[int]:
    """Returns the frames shown at ticks of the average frame rate: the same numbers, unless the rate varies."""
    reader, num_frames = results.get('reader'), results['num_frames']
    if reader is None:
        return ticks.tolist()
    ids = reader.ids_at(((ticks + 0.5) / results['fps']).tolist())
    if len(set(ticks.tolist())) < len(ticks):
        return ids
    # Ticks that show the same frame, since the next one is late, get different frames.
    for i in range(1, len(ids)):
        ids[i] = max(ids[i], ids[i - 1] + 1)
    return [min(frame, num_frames - len(ids) + i) for i, frame in enumerate(ids)]


def _require_positive(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f'`{name}` must be positive, got {value}.')


def _span(results: dict[str, Any], clip_len: int, frame_stride: int) -> int:
    """Returns the number of frames that a clip spans. A shorter video is counted."""
    span = (clip_len - 1) * frame_stride + 1
    if span > results['num_frames']:
        _note(
            results,
            'a video shorter than a clip: last frame repeated (`frame_stride=` lowers its length)',
        )
    return span


def _with_clips(
    results: dict[str, Any], starts: np.ndarray, clip_len: int, frame_stride: int
) -> dict[str, Any]:
    """Adds the frames of clips, given their first frames."""
    ids = starts[:, None] + np.arange(clip_len) * frame_stride
    return _with_frames(results, ids.clip(max=results['num_frames'] - 1))


def _with_frames(results: dict[str, Any], ids: np.ndarray) -> dict[str, Any]:
    """Adds the frames of clips, (num_clips, clip_len)."""
    num_clips, clip_len = ids.shape
    frames = dict(frame_ids=ids.ravel().tolist(), num_clips=num_clips, clip_len=clip_len)
    return {**results, **frames}


def _note(results: dict[str, Any], event: str) -> None:
    """Counts an event, which is logged."""
    if 'notes' in results:
        results['notes'][event] += 1
