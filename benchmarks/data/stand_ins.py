# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Clips like those of Kinetics-400 and pictures like ImageNet's, made from smaller real ones or from drawn scenes.

What decoding costs depends on size, length, key frames and bits: 340 x 256 pixels, 10 s at 30 frames/s, x264 with its
usual settings (a key frame every 250, or at a cut); 500 x 375 pixels, JPEG of quality 90. Grain makes up for the
detail that enlarged pictures lack.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import cv2
import numpy as np

CLIP_SIZE, CLIP_FRAMES, CLIP_FPS = (340, 256), 300, 30  # width, height
PICTURE_SIZE, PICTURE_QUALITY = (500, 375), 90
CLIP_GRAIN, PICTURE_GRAIN = 6.0, 18.0  # standard deviation, in levels of 255


def make_clips(source: Path, folder: Path, number: int) -> None:
    """Writes clips from the frames of smaller ones, played forth and back.

    Args:
        source: Folder that has videos somewhere below it.
        folder: Where the clips go.
        number: How many.
    """
    folder.mkdir(parents=True)
    paths = _evenly(sorted(source.rglob('*.mp4')), number)
    with ProcessPoolExecutor() as pool:
        list(pool.map(_make_clip, paths, (folder / f'{n:04d}.mp4' for n in range(number))))


def make_pictures(source: Path, folder: Path, number: int) -> None:
    """Writes pictures from smaller ones.

    Args:
        source: Folder that has pictures somewhere below it.
        folder: Where they go.
        number: How many.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for n, path in enumerate(_evenly(sorted(source.rglob('*.jpg')), number)):
        picture = _enlarge(cv2.imread(str(path)), PICTURE_SIZE, PICTURE_GRAIN, rng)
        options = [cv2.IMWRITE_JPEG_QUALITY, PICTURE_QUALITY]
        cv2.imwrite(str(folder / f'{n:04d}.jpg'), picture, options)


def _make_clip(source: Path, path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = _read(source)
    chosen = islice(cycle([*frames, *frames[-2:0:-1]]), CLIP_FRAMES)
    _write(path, (_enlarge(frame, CLIP_SIZE, CLIP_GRAIN, rng) for frame in chosen))


def _evenly(files: list[Path], number: int) -> list[Path]:
    """Some of the files, from all parts of the list; over again where there are fewer."""
    if not files:
        raise SystemExit('error: the folder to make stand-ins from has no .mp4 or .jpg files.')
    places = np.linspace(0, len(files), number, endpoint=False).astype(int)
    return [files[place] for place in places]


def _enlarge(
    pixels: np.ndarray, size: tuple[int, int], grain: float, rng: np.random.Generator
) -> np.ndarray:
    enlarged = cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(0, grain, (*enlarged.shape[:2], 1))
    return (enlarged + noise).clip(0, 255).astype(np.uint8)


def _read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]


def _write(path: Path, frames: Iterator[np.ndarray]) -> None:
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', Fraction(CLIP_FPS))
        stream.width, stream.height = CLIP_SIZE
        stream.pix_fmt = 'yuv420p'
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode(None))
