# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vicmae.registry import MODELS
from vicmae.structures import Batch, Views

from .batch_augment import augment_batch
from .pixels import PixelPreprocessor


@MODELS.register_module()
class ViewPreprocessor(PixelPreprocessor):
    """Moves a batch to the device, applies the augmentations that the workers drew, and normalises it.

    The augmentations are in `augment`, one tensor (B, F) per view (see `vicmae.structures.FIELDS`). Without it, views
    are only normalised. `PixelPreprocessor` describes the arguments.

    Shape:
        training: V batches (B, C, H, W) or (B, C, T, H, W) uint8 -> the same as float
        evaluation: B clips (T, C, H, W) uint8 -> the same as float
    """

    trained_on = Views

    def prepare(self, data: Mapping[str, Any], training: bool) -> Batch:
        """Augments and normalises the pixels, and drops `augment`. Other items are only moved."""
        batch = self.take(data, training)
        if not isinstance(batch, Views):
            return super().prepare(batch, training)
        # The host reads `augment`, so it stays there.
        augment = batch.get('augment') or [None] * len(batch.inputs)
        moved = Views(**self.cast_data({k: v for k, v in batch.items() if k != 'augment'}))
        # One view at a time, since floats take four times the memory.
        views = zip(moved.inputs, augment, strict=True)
        return moved.replace(inputs=[self._finish(*view) for view in views])

    def _finish(self, view: Tensor, numbers: Tensor | None) -> Tensor:
        """Augments and normalises a view."""
        frames = _swap_channels_and_time(view)
        if numbers is not None:
            frames = augment_batch(frames, numbers)
        return _swap_channels_and_time(self.normalize(frames))


def _swap_channels_and_time(view: Tensor) -> Tensor:
    """Swaps axes of a clip, without a copy: (B, C, T, H, W) <-> (B, T, C, H, W). An image stays the same."""
    return view.transpose(1, 2) if view.ndim == 5 else view
