# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Encodes images and clips to features. B batch, T frames, t h w the patch grid, D width."""

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vicmae.datasets.clip_reader import ClipRow, Piece
from vicmae.structures import Clips

# pooled: one vector for each row (D,). frames: one for each frame, or time step of a model of clips (D,). dense: the
# patches of each of these (h, w, D).
OUTPUTS = ('pooled', 'frames', 'dense')
# Batches that may be encoded until an incomplete one of another shape is, too.
_BATCHES_TO_WAIT = 4


class FeatureRow(NamedTuple):
    """A feature and what it is of.

    Attributes:
        source: The file or the input.
        frames: Numbers of the frames.
        times: When these are shown, in seconds after the first frame; empty if that isn't known.
        feature: (D,), or (h, w, D) of `dense`, float32, on the CPU.
    """

    source: Any
    frames: tuple[int, ...]
    times: tuple[float, ...]
    feature: Tensor


@torch.no_grad()
def encode_batch(model: Any, batch: Any) -> Tensor:
    """Encodes a batch of images or clips from a loader to one vector each, (B, D), on the CPU.

    The model has `data_preprocessor` and `extract_clip_feat`, as `ViCMAE` has.
    """
    return model.extract_clip_feat(model.data_preprocessor(batch).inputs).float().cpu()


class RowEncoder:
    """Encodes what a `ClipReader` reads, in batches of one size, and returns rows in the order of reading.

    A batch may have frames of several files. Frames that several rows share are encoded once.

    Args:
        model: The model, in evaluation mode.
        batch_size: Frames or, of a model of clips, clips that are encoded together.
        output: One of `OUTPUTS`.
        pads: Whether batches that aren't full are filled up: a feature then doesn't depend on how many follow.
    """

    def __init__(
        self, model: Any, *, batch_size: int, output: str = 'pooled', pads: bool = False
    ) -> None:
        if batch_size < 1:
            raise ValueError(f'`batch_size` must be at least 1, got {batch_size}.')
        if output not in OUTPUTS:
            raise ValueError(f'`output` must be one of {", ".join(OUTPUTS)}, got {output!r}.')
        self.model, self.batch_size, self.output, self.pads = model, batch_size, output, pads
        self._takes_clips = model.backbone.takes_clips
        # A mean of few vectors isn't worth the way to a GPU.
        of_pool = itertools.chain(model.over_time.parameters(), model.over_time.buffers())
        self._pool_device = next((tensor.device for tensor in of_pool), torch.device('cpu'))
        self._num_units = 0
        self._base = 0  # number of the first unit of the file
        self._waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}  # by shape
        self._features: dict[int, Tensor] = {}  # of units that rows need
        self._rows: deque[tuple[Any, ClipRow]] = deque()

    def begin(self) -> None:
        """Begins a file: the units of its pieces are counted from 0."""
        self._base = self._num_units

    def add(self, source: Any, piece: Piece) -> Iterator[FeatureRow]:
        """Adds a piece, and yields the rows that are complete by now."""
        for row in piece.rows:
            self._rows.append(
                (source, row._replace(units=tuple(self._base + u for u in row.units)))
            )
        for unit in piece.units:
            group = self._waiting.setdefault(unit.shape, [])
            group.append((self._num_units, unit))
            self._num_units += 1
            if len(group) == self.batch_size:
                self._encode(unit.shape)
        self._encode_overdue()
        yield from self._complete()

    def finish(self) -> Iterator[FeatureRow]:
        """Encodes what is left and yields the last rows."""
        for shape in list(self._waiting):
            self._encode(shape)
        yield from self._complete()

    def _encode_overdue(self) -> None:
        for shape, group in list(self._waiting.items()):
            if self._num_units - group[0][0] > _BATCHES_TO_WAIT * self.batch_size:
                self._encode(shape)

    @torch.no_grad()
    def _encode(self, shape: tuple[int, ...]) -> None:
        group = self._waiting.pop(shape)
        units = [unit for _, unit in group]
        if self.pads:
            units += units[-1:] * (self.batch_size - len(units))
        clips = torch.from_numpy(np.stack(units))  # (B, T, C, H, W)
        features = self._features_of(clips).float().cpu()
        self._features.update(
            (number, feature) for (number, _), feature in zip(group, features, strict=False)
        )

    def _features_of(self, clips: Tensor) -> Tensor:
        """Encodes clips to (B, t, ...), or (B, 1, D) if the model pools whole clips."""
        # One tensor for all, since images of equal size are copied and normalised faster so.
        pixels = self.model.data_preprocessor(Clips([clips.flatten(0, 1)])).inputs[0]
        pixels = pixels.unflatten(0, clips.shape[:2])
        if self.output == 'dense':
            return self.model.extract_grid_feat(pixels)
        if self.output == 'frames' or not self._takes_clips:
            return self.model.extract_step_feat(pixels)
        return self.model.extract_clip_feat(list(pixels))[:, None]

    def _complete(self) -> Iterator[FeatureRow]:
        """Yields the first rows as long as their units are encoded, and forgets units before them."""
        while self._rows and all(unit in self._features for unit in self._rows[0][1].units):
            source, row = self._rows.popleft()
            for unit in [unit for unit in self._features if unit < row.units[0]]:
                del self._features[unit]
            steps = torch.cat([self._features[unit] for unit in row.units])  # (t, ...)
            if self.output == 'pooled':
                yield FeatureRow(source, row.frames, row.times, self._pool(steps))
                continue
            length = len(row.frames) // len(steps)
            for number, feature in enumerate(steps):
                part = slice(number * length, (number + 1) * length)
                yield FeatureRow(source, row.frames[part], row.times[part], feature)

    def _pool(self, steps: Tensor) -> Tensor:
        """Joins the vectors of frames; that of a clip is whole already."""
        if self._takes_clips:
            return steps[0]
        with torch.no_grad():
            return self.model.over_time(steps[None].to(self._pool_device))[0].float().cpu()
