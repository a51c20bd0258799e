# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A video file, whatever decodes it. H W pixels."""

import os
from collections.abc import Callable, Sequence
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
    """What decodes the frames of an open file."""

    def decode(self, ids: list[int]) -> dict[int, np.ndarray]:
        """Decodes frames by number, ascending, or raises a `Refusal`: each (H, W, 3), uint8, RGB, upright."""

    def close(self) -> None:
        """Lets go of the file."""


class VideoFile(VideoReader):
    """A video file, decoded by the first library that reads it.

    Which frames there are is learnt from the packets of the file, which PyAV reads, so that a number or a time
    means the same frame in every library. Where one refuses the file or a frame, the next is asked; not for frames
    that PyAV finds damaged, as the others would show what they make of them.

    Args:
        source: Path, or the bytes of a file.
        name: What messages call it.
        libraries: Names of the libraries, in the order in which they are asked.
    """

    def __init__(self, source: str | bytes, name: str, libraries: Sequence[str]) -> None:
        self.name = name
        self._source = source
        self._libraries = libraries
        self._refused: dict[str, str] = {}  # why a library doesn't open the file
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
    def _size(self) -> tuple[int, int]:
        height, width = self.frames([0])[0].shape[:2]
        return height, width

    @cached_property
    def height(self) -> int:
        return self._size[0]

    @cached_property
    def width(self) -> int:
        return self._size[1]

    def frames(self, ids: Sequence[int]) -> list[np.ndarray]:
        self.require_ids(ids)
        if len(ids) == 0:
            return []
        wanted = sorted({int(i) for i in ids})
        complaint = (
            f"Can't decode frames {some(wanted)} of {self.num_frames} of the video {self.name!r}"
        )
        decoded = self._ask(lambda decoder: decoder.decode(wanted), complaint)
        return [decoded[i] for i in ids]

    def ids_at(self, seconds: Sequence[float]) -> list[int]:
        return self._index.ids_at(seconds)

    def close(self) -> None:
        for decoder in self._opened.values():
            decoder.close()
        self._opened = {}

    def _ask(self, question: Callable[[Decoder], Any], complaint: str) -> Any:
        """Asks one library after the other, until one answers."""
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
                self._opened[library] = _find(library)(self._source, self._video)
            except Refusal as refusal:
                # The words alone: with the exception, all that led to it would stay in memory.
                self._refused[library] = str(refusal)
                raise
        return self._opened[library]


def _find(library: str) -> Callable[[str | bytes, PyavVideo], Decoder]:
    found = _import(library)
    if isinstance(found, EnvironmentFault):
        raise found
    return found


@cache
def _import(library: str) -> Any:
    """Imports what decodes with a library, or returns why it can't be: tried once, as failing may take long."""
    module, name = _DECODERS[library]
    try:
        return getattr(import_module(module, __package__), name)
    except EnvironmentFault as fault:
        return fault
