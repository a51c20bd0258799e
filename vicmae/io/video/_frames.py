# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from vicmae.errors import DataError

from ..image import EncodedImage
from .reader import VideoReader


class FrameSequence(VideoReader):
    """A video stored as one image per frame, each given as a path or as bytes. It keeps no file open.

    `frames` is a sequence of images, or a function that returns one by number.
    """

    def __init__(
        self,
        frames: Sequence[str | bytes] | Callable[[int], str | bytes],
        num_frames: int,
        fps: float,
        name: str,
    ) -> None:
        if not 0 < fps < float('inf'):
            raise ValueError(f'`fps` must be a positive number, got {fps}.')
        if num_frames < 1:
            raise DataError(f'The video {name!r} has no frames.')
        self._read = frames if callable(frames) else frames.__getitem__
        self.num_frames = num_frames
        self.fps = fps
        self.name = name

    @cached_property
    def _first(self) -> EncodedImage:
        return self._image(0)

    @property
    def height(self) -> int:
        return self._first.height

    @property
    def width(self) -> int:
        return self._first.width

    def frames(self, ids: Sequence[int]) -> list[np.ndarray]:
        self.require_ids(ids)
        decoded = {i: self._image(i).decode() for i in sorted(set(ids))}
        return [decoded[i] for i in ids]

    def ids_at(self, seconds: Sequence[float]) -> list[int]:
        # Tolerate rounding by half a millisecond, as in video files.
        ids = np.floor((np.asarray(seconds) + 5e-4) * self.fps).astype(int)
        return ids.clip(0, self.num_frames - 1).tolist()

    def close(self) -> None:
        """Does nothing: nothing is open."""

    def _image(self, number: int) -> EncodedImage:
        encoded = self._read(number)
        name = encoded if isinstance(encoded, str) else f'{self.name}, frame {number}'
        return EncodedImage(encoded, name)
