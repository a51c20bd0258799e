# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from vicmae.errors import DataError, EnvironmentFault

from ._pyav import PyavVideo
from ._refusal import Damage, Refusal, some
from .reader import VideoReader

_DECODERS = {
    'decord': ('._decord', 'DecordDecoder'),
    'torchcodec': ('._torchcodec', 'TorchcodecDecoder'),
}


class Decoder(Protocol):
    """Decodes the frames of an open file. It uses one thread, since the loader has several workers."""

    def decode(self, ids: list[int]) -> dict[int, np.ndarray]:
        """Decodes frames by number, ascending, or raises a `Refusal`: each (H, W, 3), uint8, RGB, upright."""

    def close(self) -> None:
        """Closes the file."""


class VideoFile(VideoReader):
    """A video file, decoded by the first of the `libraries` that can read it.

    PyAV indexes the frames, so that a number or a time means the same frame in every library. If one refuses the file
    or a frame, the next is tried, except for frames that PyAV finds damaged: others may not detect it.
    """

    def __init__(self, source: str | bytes, name: str, libraries: Sequence[str]) -> None:
        self.name = name
        self._source = source
        self._libraries = libraries
        self._refused: dict[str, str] = {}  # library -> why it can't open the file
        if isinstance(source, str) and not os.path.isfile(source):
            raise DataError(f'There is no video {name!r}.')
        try:
            self._video = PyavVideo(source)
        except Refusal as refusal:
            raise DataError(f"Can't open the video {name!r}: {refusal}.") from refusal
        self._opened: dict[str, Decoder] = {'pyav': self._video}
        self._index = self._video.index
        self.num_frames, self.fps = self._index.num_frames, self._index.fps
        try:
            self._ask(lambda decoder: None, f"Can't open the video {name!r}")
        except Exception:
            self.close()
            raise

    @cached_property
    def _size(self) -> tuple[int, ...]:
        return self.frames([0])[0].shape

    @property
    def height(self) -> int:
        return self._size[0]

    @property
    def width(self) -> int:
        return self._size[1]

    def frames(self, ids: Sequence[int]) -> list[np.ndarray]:
        self.require_ids(ids)
        if len(ids) == 0:
            return []
        requested = sorted({int(i) for i in ids})
        complaint = (
            f"Can't decode frames {some(requested)} of {self.num_frames} of the video {self.name!r}"
        )
        decoded = self._ask(lambda decoder: decoder.decode(requested), complaint)
        return [decoded[i] for i in ids]

    def ids_at(self, seconds: Sequence[float]) -> list[int]:
        return self._index.ids_at(seconds)

    def times_of(self, ids: Sequence[int]) -> list[float]:
        times = self._index.times
        return ((times[np.asarray(ids, dtype=int)] - times[0]) * self._index.tick).tolist()

    def stream(self, ids: Sequence[int]) -> Iterator[tuple[int, np.ndarray | DataError]]:
        self._video.is_streaming = True
        try:
            yield from super().stream(ids)
        finally:
            self._video.is_streaming = False

    def num_lost(self, ids: Sequence[int]) -> int:
        # Frames up to the next key frame may need the damaged one.
        times, keys = self._index.times[np.asarray(ids, dtype=int)], self._index.keys
        later = keys[np.searchsorted(keys, times[0], side='right') :]
        return int((times < later[0]).sum()) if len(later) else len(ids)

    def close(self) -> None:
        for decoder in self._opened.values():
            decoder.close()
        self._opened = {}

    def _ask(self, question: Callable[[Decoder], Any], complaint: str) -> Any:
        """Calls `question` with one library after the other, until one succeeds."""
        refusals = []
        for library in self._libraries:
            try:
                return question(self._open(library))
            except Refusal as refusal:
                refusals.append(f'{library}: {refusal}')
                if isinstance(refusal, Damage):
                    break
            except EnvironmentFault:
                if len(self._libraries) == 1:
                    raise
        raise DataError(f'{complaint}. {"; ".join(refusals)}.')

    def _open(self, library: str) -> Decoder:
        if library in self._refused:
            raise Refusal(self._refused[library])
        if library not in self._opened:
            try:
                decoder = _import(library)
                if isinstance(decoder, EnvironmentFault):
                    raise decoder
                self._opened[library] = decoder(self._source, self._video)
            except Refusal as refusal:
                # Keep only the text: the exception would keep its traceback in memory.
                self._refused[library] = str(refusal)
                raise
        return self._opened[library]


@cache
def _import(library: str) -> Any:
    """Imports the decoder of a library or returns the error. It is cached, as a failure may take long."""
    module, name = _DECODERS[library]
    try:
        return getattr(import_module(module, __package__), name)
    except EnvironmentFault as fault:
        return fault
