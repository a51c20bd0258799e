# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Recodes images and videos for shards. H W pixels.

Whatever a file is like (rotated, interlaced, 10 bit, of odd size), our readers have read it before it is encoded
again: a recoded file is upright and has 8 bits, three channels and one rate.
"""

import io
import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from vicmae.data_tools.packing.shard_writer import frame_members
from vicmae.datasets.sources.file_source import FileSource
from vicmae.datasets.sources.image_folder import ImageFolder
from vicmae.datasets.sources.video_folder import VideoFolder
from vicmae.datasets.transforms.crop import crop_and_resize
from vicmae.errors import ConfigError, DataError
from vicmae.io.image import EncodedImage
from vicmae.io.video import READERS, VideoReader, open_video
from vicmae.io.video.encode import encode_mp4
from vicmae.utils.isolated_pool import restart_deadline

from ..checking.file_check import DecodableFrames

X264_PRESETS = (
    *('ultrafast', 'superfast', 'veryfast', 'faster', 'fast'),
    *('medium', 'slow', 'slower', 'veryslow'),
)
X264_TUNES = ('fastdecode', 'none')
_MAX_DECODED_BYTES = 2**26  # held at a time: films have more frames than memory has room for


@dataclass(frozen=True)
class Recoded:
    """A sample as it goes into a shard.

    Args:
        members: Contents of its files by extension.
        height, width: In pixels.
        num_frames: How many; 1 for an image.
        num_key_frames: How many of them can be decoded alone; 0 where that isn't known.
        notes: What a reader of the shard has to know.
    """

    members: dict[str, bytes]
    height: int
    width: int
    num_frames: int = 1
    num_key_frames: int = 1
    notes: dict[str, Any] = field(default_factory=dict)


class Recipe(ABC):
    """Stores samples in one way: a frozen dataclass, whose fields are all that the result depends on."""

    kind: ClassVar[str]
    what: ClassVar[str]

    @abstractmethod
    def __call__(self, known: dict[str, Any]) -> Recoded:
        """Reads a sample, of which `Source.get_data_info` says what is known, and encodes it."""

    def _require(self, holds: bool, name: str, what: str) -> None:
        if not holds:
            raise ConfigError(f'`{name}` must be {what}, got {getattr(self, name)!r}.')

    def _require_reader(self, reader: str) -> None:
        self._require(reader in READERS, 'reader', f'one of {", ".join(READERS)}')

    def _require_short_side(self, short_side: int | None) -> None:
        self._require(short_side is None or short_side >= 16, 'short_side', 'at least 16 pixels')


# ------------------------------------------------------------------------------- images
@dataclass(frozen=True)
class CopyImages(Recipe):
    """Images byte by byte, after they were decoded once to see whether that works."""

    kind = 'image'
    what = 'images that are copied (without `--short-side`)'

    def __call__(self, known: dict[str, Any]) -> Recoded:
        content = _content(known)
        image = EncodedImage(content, known['path'])
        image.decode()
        return Recoded({_extension(known, ImageFolder): content}, image.height, image.width)


@dataclass(frozen=True)
class ShrinkImages(Recipe):
    """Images as upright RGB JPEGs of a given size. None is enlarged.

    Args:
        short_side: Pixels of the shorter side, at most.
        quality: Of the JPEGs, 1 to 95.
    """

    short_side: int = 320
    quality: int = 90
    kind = 'image'
    what = 'images with `--short-side`'

    def __post_init__(self) -> None:
        self._require_short_side(self.short_side)
        self._require(1 <= self.quality <= 95, 'quality', 'between 1 and 95')

    def __call__(self, known: dict[str, Any]) -> Recoded:
        image = EncodedImage(known.get('media', known['path']), known['path'])
        # Decoding at a part of the size is cheap for JPEGs; twice the pixels needed lose nothing that is seen.
        spare = min(image.height, image.width) // (2 * self.short_side)
        pixels = image.decode(reduction=max(r for r in (1, 2, 4, 8) if r <= max(1, spare)))
        pixels = _resized(pixels, _size(image.height, image.width, self.short_side))
        height, width = pixels.shape[:2]
        return Recoded({'jpg': _as_jpeg(pixels, self.quality)}, height, width)


# ------------------------------------------------------------------------------- videos
@dataclass(frozen=True)
class CopyVideos(Recipe):
    """Videos byte by byte, after their first, middle and last frame were tried: one of them has to be decodable."""

    reader: str = 'auto'
    kind = 'video'
    what = 'videos with `--video-as copy`'

    def __post_init__(self) -> None:
        self._require_reader(self.reader)

    def __call__(self, known: dict[str, Any]) -> Recoded:
        content = _content(known)
        with open_video(content, self.reader, known['path']) as video:
            count = video.num_frames
            found = DecodableFrames(video)
            for number in sorted({0, count // 2, count - 1}):
                found.attempt([number])
            height, width = found.require_size(known['path'])
        return Recoded({_extension(known, VideoFolder): content}, height, width, count, 0)


@dataclass(frozen=True)
class VideosAsMp4(Recipe):
    """Videos as H.264 that is made for reading single frames, without sound.

    Each frame is at its time: where a video's rate varies, frames are repeated or left out, to its average rate.

    Args:
        short_side: Pixels of the shorter side, at most. None keeps the size; sides are even in any case.
        gop: A frame in so many is a key frame: to read any frame takes decoding half as many on average.
        crf: x264's constant rate factor, 0 to 51: lower is better and larger.
        preset: x264's preset: slower ones make smaller files of the same quality.
        tune: 'fastdecode' leaves out what takes long to decode; 'none' gives smaller files.
        reader: Name of the video reader. PyAV is the quickest at reading a video through.
    """

    short_side: int | None = 256
    gop: int = 12
    crf: int = 23
    preset: str = 'fast'
    tune: str = 'fastdecode'
    reader: str = 'pyav'
    kind = 'video'
    what = 'videos with `--video-as mp4`'

    def __post_init__(self) -> None:
        self._require_reader(self.reader)
        self._require_short_side(self.short_side)
        self._require(self.gop >= 1, 'gop', 'at least 1')
        self._require(0 <= self.crf <= 51, 'crf', 'between 0 and 51')
        self._require(self.preset in X264_PRESETS, 'preset', f'one of {", ".join(X264_PRESETS)}')
        self._require(self.tune in X264_TUNES, 'tune', f'one of {", ".join(X264_TUNES)}')

    def __call__(self, known: dict[str, Any]) -> Recoded:
        media = known.get('media', known['path'])
        with open_video(media, self.reader, known['path']) as video:
            frames, (height, width) = _sized(_frames_at_rate(video, video.fps), self.short_side, 2)
            encoded, num_frames, num_keys = encode_mp4(
                frames, height, width, fps=video.fps, options=self._options()
            )
        _read_back(encoded, known['path'], (num_frames, height, width))
        return Recoded({'mp4': encoded}, height, width, num_frames, num_keys)

    def _options(self) -> dict[str, str]:
        # B-frames would have to be decoded for the frames behind them, and a scene's cut would move the key frames.
        fixed = f'keyint={self.gop}:min-keyint={self.gop}:scenecut=0:bframes=0'
        options = {'crf': str(self.crf), 'preset': self.preset, 'x264-params': fixed}
        return options if self.tune == 'none' else {**options, 'tune': self.tune}


@dataclass(frozen=True)
class VideosAsJpeg(Recipe):
    """Videos as JPEG frames at a rate: the quickest to read. None is enlarged.

    Args:
        fps: Frames per second; videos of a lower rate keep their own.
        short_side: Pixels of the shorter side, at most. None keeps the size.
        quality: Of the JPEGs, 1 to 95.
        reader: Name of the video reader. PyAV is the quickest at reading a video through.
    """

    fps: float = 5.0
    short_side: int | None = 256
    quality: int = 90
    reader: str = 'pyav'
    kind = 'video'
    what = 'videos with `--video-as jpeg`'

    def __post_init__(self) -> None:
        self._require_reader(self.reader)
        self._require_short_side(self.short_side)
        self._require(0 < self.fps < float('inf'), 'fps', 'more than 0')
        self._require(1 <= self.quality <= 95, 'quality', 'between 1 and 95')

    def __call__(self, known: dict[str, Any]) -> Recoded:
        media = known.get('media', known['path'])
        with open_video(media, self.reader, known['path']) as video:
            fps = min(self.fps, video.fps)
            sized, (height, width) = _sized(_frames_at_rate(video, fps), self.short_side)
            frames = [_as_jpeg(frame, self.quality) for frame in sized]
        members = frame_members(frames)
        return Recoded(members, height, width, len(frames), len(frames), dict(fps=fps))


VIDEO_FORMATS: dict[str, type[Recipe]] = dict(mp4=VideosAsMp4, jpeg=VideosAsJpeg, copy=CopyVideos)


def choose_recipe(kind: str, video_as: str | None = None, **options: Any) -> Recipe:
    """Finds the recipe that a user means, and refuses options that it doesn't take.

    Options that are None keep their defaults, a `short_side` of 0 keeps the size.
    """
    given = {name: value for name, value in options.items() if value is not None}
    keeps_size = given.get('short_side') == 0
    if keeps_size:
        del given['short_side']
    recipe: type[Recipe]
    if kind == 'image' and video_as:
        raise ConfigError(f'These are images: `--video-as {video_as}` does nothing for them.')
    if kind == 'image':
        recipe = ShrinkImages if 'short_side' in given else CopyImages
    else:
        recipe = VIDEO_FORMATS[video_as or 'mp4']
        if keeps_size:
            given['short_side'] = None
    names = [entry.name for entry in fields(recipe)]  # type: ignore[arg-type]  # each is a dataclass
    foreign = [name for name in given if name not in names]
    if foreign:
        raise ConfigError(
            f'{_flags(foreign)} does nothing for {recipe.what}. Their options: {_flags(names) or "none"}.'
        )
    return recipe(**given)


def _flags(names: Sequence[str]) -> str:
    return ', '.join(f'`--{name.replace("_", "-")}`' for name in names)


# ------------------------------------------------------------------------------- pieces
def _content(known: dict[str, Any]) -> bytes:
    """Reads the bytes of a file."""
    media = known.get('media', known['path'])
    if isinstance(media, bytes):
        return media
    if isinstance(media, VideoReader):
        raise DataError(
            f'{known["path"]!r} is no single file: its frames can be packed as JPEG or mp4, not copied.'
        )
    try:
        return Path(media).read_bytes()
    except OSError as error:
        raise DataError(f"Can't read {known['path']!r}: {error.strerror}.") from error


def _extension(known: dict[str, Any], kind: type[FileSource]) -> str:
    """Returns the extension of a file's name, without the dot."""
    extension = os.path.splitext(known['path'])[1].lower()
    if extension not in kind.extensions:
        raise DataError(
            f'The name of {known["path"]!r} does not say what is in it: it can be recoded, but not copied.'
        )
    return extension[1:]


def _size(height: int, width: int, short_side: int | None, multiple: int = 1) -> tuple[int, int]:
    """Computes height and width with a limited shorter side, rounded to a multiple."""
    scale = min(1.0, short_side / min(height, width)) if short_side else 1.0

    def rounded(side: int) -> int:
        return max(multiple, multiple * round(side * scale / multiple))

    return rounded(height), rounded(width)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) -> (*size, 3), uint8."""
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return pixels
    return crop_and_resize(pixels, (0, 0, height, width), size)


def _sized(
    frames: Iterator[np.ndarray], short_side: int | None, multiple: int = 1
) -> tuple[Iterator[np.ndarray], tuple[int, int]]:
    """Brings all frames to the size that the first one has to get; returns that, too."""
    first = next(frames)
    height, width, _ = first.shape
    size = _size(height, width, short_side, multiple)
    return (_resized(frame, size) for frame in itertools.chain([first], frames)), size


def _as_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'JPEG', quality=quality)
    encoded = file.getvalue()
    read_back = EncodedImage(encoded, 'packed').decode()
    _require_same(read_back.shape, pixels.shape, 'packed')
    return encoded


def _read_back(encoded: bytes, path: str, expected: tuple[int, int, int]) -> None:
    """Raises an error where a video, as training opens it, hasn't this number of frames, height and width."""
    with open_video(encoded, name=f'{path} (packed)') as packed:
        packed.frames(sorted({0, packed.num_frames - 1}))
        found = (packed.num_frames, packed.height, packed.width)
    _require_same(found, expected, path)


def _require_same(found: Sequence[int], expected: Sequence[int], path: str) -> None:
    """Raises an error where what was packed reads as something else."""
    if tuple(found) != tuple(expected):
        raise DataError(
            f'{path!r} did not come out of the encoder as it went in: {tuple(found)} instead of {tuple(expected)}.'
        )


def _frames_at_rate(video: VideoReader, fps: float) -> Iterator[np.ndarray]:
    """Decodes a video at a constant rate, each time the frame that is nearest to it.

    For a frame that can't be decoded the one before stands in. Of those at the beginning and the end nothing is left.
    """
    count = max(1, round(video.num_frames / video.fps * fps))
    ids = video.ids_at((np.arange(count) / fps + 0.5 / video.fps).tolist())
    latest, missing, position, at_once = None, 0, 0, 1
    while position < count:
        part = ids[position : position + at_once]
        position += len(part)
        decoded = _decodable(video, sorted(set(part)))
        for number in part:
            if number not in decoded:
                missing += 1
                continue
            if latest is not None:
                yield from itertools.repeat(latest, missing)
            latest, missing = decoded[number], 0
            yield latest
        if latest is not None:
            at_once = max(1, _MAX_DECODED_BYTES // latest.nbytes)
    if latest is None:
        video.frames(ids[:1])  # raises an error that says why


def _decodable(video: VideoReader, ids: list[int]) -> dict[int, np.ndarray]:
    """Decodes those frames that can be decoded."""
    restart_deadline()  # it is for a decoder that hangs, not for a video that is long
    try:
        return dict(zip(ids, video.frames(ids), strict=True))
    except DataError:
        if len(ids) == 1:
            return {}
    middle = len(ids) // 2
    return _decodable(video, ids[:middle]) | _decodable(video, ids[middle:])
