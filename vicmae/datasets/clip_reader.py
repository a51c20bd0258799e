# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reads images and videos of any length as clips for a model. T frames, C channels, H W pixels."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from vicmae.errors import DataError
from vicmae.io.extensions import VIDEO_EXTENSIONS
from vicmae.io.image import EncodedImage, to_rgb
from vicmae.io.video import VideoReader, open_video

from .transforms import CenterCrop, UniformFrames

_UNITS_AT_ONCE = 16


class ClipRow(NamedTuple):
    """What one feature is of: a window of a video, a frame, or an image.

    Attributes:
        units: Numbers of the units of the file that it is computed from, ascending; those of repeated frames repeat.
        frames: Numbers of its frames.
        times: When these are shown, in seconds after the first frame of the video; empty if that isn't known.
    """

    units: tuple[int, ...]
    frames: tuple[int, ...]
    times: tuple[float, ...]


class Piece(NamedTuple):
    """A part of what was read of a file.

    Attributes:
        units: Frames or clips that the model encodes, (n, T, C, H, W), uint8: those after the units of earlier pieces.
        rows: Rows whose units are complete with this piece.
        note: What is to be known of the file, such as that a part of it can't be read; in its last piece.
    """

    units: np.ndarray
    rows: list[ClipRow]
    note: str = ''


class Span(NamedTuple):
    """A part of a video, in seconds after its first frame; the end is not in it."""

    begin: float
    end: float


class ArrayVideo(VideoReader):
    """Frames in memory: (T, H, W, 3), uint8, RGB. Their times are not known."""

    fps = float('nan')

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.name = f'array {pixels.shape}'
        self.num_frames = len(pixels)

    @property
    def height(self) -> int:
        return self.pixels.shape[1]

    @property
    def width(self) -> int:
        return self.pixels.shape[2]

    def frames(self, ids: Sequence[int]) -> list[np.ndarray]:
        self.require_ids(ids)
        return [self.pixels[i] for i in ids]

    def ids_at(self, seconds: Sequence[float]) -> list[int]:
        raise DataError(
            'Frames in memory have no times, which `window` needs. Give a file, or windows of frames as arrays.'
        )

    def close(self) -> None:
        """Does nothing: nothing is open."""


@dataclass(frozen=True)
class ClipReader:
    """Reads an image or a video as rows, each of which gets one feature, and the frames or clips that they need.

    A long video is read once: each frame is decoded once, also for windows that overlap, and only those of a window are
    in memory.

    Args:
        size: Size of the frames in pixels: of a side, or (height, width). They are cropped as by `CenterCrop`.
        num_frames: Frames of a row, evenly spaced over the window or the video. Frames of a short video are repeated.
        window: Seconds of a window. None for one row of the whole video.
        stride: Seconds from one window to the next; by default `window`. What is left at the end is left out.
        takes_clips: Whether the model encodes clips; otherwise it encodes single frames, each of them once.
        per_frame: Whether each frame is a row, for a model of frames.
    """

    size: int | tuple[int, int]
    num_frames: int
    window: float | None = None
    stride: float | None = None
    takes_clips: bool = False
    per_frame: bool = False

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(f'`num_frames` must be at least 1, got {self.num_frames}.')
        for name in ('window', 'stride'):
            value = getattr(self, name)
            if value is not None and not 0 < value < float('inf'):
                raise ValueError(f'`{name}` must be a positive number of seconds, got {value}.')
        if self.stride is not None and self.window is None:
            raise ValueError('`stride` is the distance of windows: set `window`, too.')

    @cached_property
    def _crop(self) -> CenterCrop:
        return CenterCrop(self.size)

    def __call__(self, source: Any, span: Span | None = None) -> Iterator[Piece]:
        """Reads an image or video: a path, an open `VideoReader`, or what `as_frames` takes.

        With a span, only the rows of a video that begin in it are read.
        """
        if isinstance(source, os.PathLike):
            source = os.fspath(source)
        if isinstance(source, str) and not is_video(source):
            yield self._read_image(EncodedImage(source).decode())
        elif isinstance(source, (str, VideoReader)):
            with open_video(source) as video:
                yield from self._read_video(video, span)
        else:
            pixels = as_frames(source)
            if pixels.ndim == 3:
                yield self._read_image(pixels)
            else:
                yield from self._read_video(ArrayVideo(pixels))

    def _read_image(self, pixels: np.ndarray) -> Piece:
        return Piece(self._pack([self._cropped(pixels)])[None], [ClipRow((0,), (0,), (0.0,))])

    def _read_video(self, video: VideoReader, span: Span | None = None) -> Iterator[Piece]:
        ids, note = self._rows_of(video)
        if self.per_frame:
            ids = np.unique(ids)[:, None]
        if span is not None:
            begins = np.array(video.times_of(ids.min(axis=1).tolist()))
            inside = (begins >= span.begin) & (begins < span.end)
            ids, note = ids[inside], note if inside[0] else ''
        reading = _Reading(self, video, ids)
        yield from reading
        if reading.error and reading.num_lost == len(ids) and span is None:
            raise reading.error
        if reading.num_lost:
            lost = f"{reading.num_lost} of {len(ids)} rows can't be read: {reading.error}"
            note = f'{note}; {lost}' if note else lost
        yield Piece(np.empty(0, np.uint8), [], note)

    def _rows_of(self, video: VideoReader) -> tuple[np.ndarray, str]:
        """Returns the frames of each row, (R, num_frames), and what is to be known of them."""
        whole = np.array(
            [UniformFrames(self.num_frames)(dict(num_frames=video.num_frames))['frame_ids']]
        )
        if self.window is None:
            return whole, ''
        if isinstance(video, ArrayVideo):
            video.ids_at([])
        stride, slack = self.stride or self.window, 0.5 / video.fps
        if video.duration + slack < self.window:
            return (
                whole,
                f'a video of {video.duration:.2f} s, shorter than the window of {self.window:g} s',
            )
        starts = np.arange(int((video.duration + slack - self.window) / stride) + 1) * stride
        within = (np.arange(self.num_frames) + 0.5) / self.num_frames * self.window
        seconds = starts[:, None] + within
        return np.reshape(video.ids_at(seconds.ravel().tolist()), seconds.shape), ''

    def _cropped(self, frame: np.ndarray) -> np.ndarray:
        """Crops a frame: (H, W, 3) -> (C, H, W)."""
        return np.ascontiguousarray(self._crop.crop(frame).transpose(2, 0, 1))

    @staticmethod
    def _pack(frames: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(frames)


class _Reading:
    """Reads the rows of a video in order, and keeps the frames that later rows need."""

    def __init__(self, reader: ClipReader, video: VideoReader, ids: np.ndarray) -> None:
        self.reader, self.video, self.ids = reader, video, ids
        self.num_lost = 0  # rows with a frame that can't be decoded
        self.error: DataError | None = None  # of the first that can't
        self._kept: dict[int, Any] = {}  # by frame: its pixels, or the number of its unit
        self._bad: set[int] = set()
        self._num_units = 0

    def __iter__(self) -> Iterator[Piece]:
        units: list[np.ndarray] = []
        rows: list[ClipRow] = []
        crop, takes_clips = self.reader._cropped, self.reader.takes_clips
        number, last = 0, self.ids.max(axis=1).tolist()
        for frame, pixels in self.video.stream(np.unique(self.ids).tolist()):
            if isinstance(pixels, DataError):
                self.error = self.error or pixels
                self._bad.add(frame)
            elif takes_clips:
                self._kept[frame] = crop(pixels)
            else:
                self._kept[frame] = self._num_units
                self._num_units += 1
                units.append(crop(pixels)[None])
            while number < len(last) and last[number] <= frame:
                rows += self._row(number, units)
                number += 1
                self._forget(number)
            if len(units) >= (1 if takes_clips else _UNITS_AT_ONCE):
                yield Piece(np.stack(units), rows)
                units, rows = [], []
        if units or rows:
            yield Piece(np.stack(units) if units else np.empty(0, np.uint8), rows)

    def _row(self, number: int, units: list[np.ndarray]) -> list[ClipRow]:
        """Returns a row whose frames were decoded, none if one of them is damaged; adds the unit of a clip."""
        ids = self.ids[number].tolist()
        if not self._bad.isdisjoint(ids):
            self.num_lost += 1
            return []
        if self.reader.takes_clips:
            units.append(np.stack([self._kept[i] for i in ids]))
            of = (self._num_units,)
            self._num_units += 1
        else:
            of = tuple(self._kept[i] for i in ids)
        return [ClipRow(of, tuple(ids), tuple(self._times(ids)))]

    def _times(self, ids: list[int]) -> list[float]:
        return [] if isinstance(self.video, ArrayVideo) else self.video.times_of(ids)

    def _forget(self, number: int) -> None:
        """Forgets frames before the next row."""
        first = self.ids[number].min() if number < len(self.ids) else np.inf
        for frame in [frame for frame in self._kept if frame < first]:
            del self._kept[frame]
        self._bad = {frame for frame in self._bad if frame >= first}


def is_video(path: str) -> bool:
    """Returns whether a file is read as a video, by its extension."""
    return path.lower().endswith(VIDEO_EXTENSIONS)


def as_frames(source: Any) -> np.ndarray:
    """Returns an image (H, W, 3) or the frames of a video (T, H, W, 3), uint8, RGB.

    Args:
        source: A PIL image, an array of the same shape, or a tensor (C, H, W) or (T, C, H, W), uint8.
    """
    if isinstance(source, Image.Image):
        return to_rgb(ImageOps.exif_transpose(source))
    pixels = source.detach().cpu().movedim(-3, -1).numpy() if _is_picture(source) else source
    if not isinstance(pixels, np.ndarray) or pixels.ndim not in (3, 4):
        raise DataError(
            f'Expected a path, a PIL image, an array (H, W, 3) or (T, H, W, 3), or a tensor (3, H, W) or (T, 3, H, W), '
            f'got {_say(source)}.'
        )
    if pixels.dtype != np.uint8 or pixels.shape[-1] != 3 or not pixels.size:
        raise DataError(
            f'Pixels must be RGB of 8 bits, 0 to 255 (uint8), got {_say(source)}. The channels of an array are its '
            'last axis, those of a tensor come before height and width.'
        )
    return pixels


def _is_picture(source: Any) -> bool:
    return isinstance(source, Tensor) and source.ndim in (3, 4)


def _say(source: Any) -> str:
    if isinstance(source, (np.ndarray, Tensor)):
        return f'{type(source).__name__} {tuple(source.shape)} of {source.dtype}'
    return f'a {type(source).__name__}'
