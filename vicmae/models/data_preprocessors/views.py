# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping
from typing import Any

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
        training: V batches (B, C, H, W) uint8 -> the same as float
        evaluation: B clips (T, C, H, W) uint8 -> the same as float
    """

    trained_on = Views

    def forward(self, data: Mapping[str, Any], training: bool = False) -> Batch:
        """Augments and normalises the pixels, and drops `augment`. Other items are only moved."""
        batch = self.take(data, training)
        augment = batch.get('augment')  # kept on the host, which reads it
        if augment is None:
            return super().forward(batch, training)
        moved = Views(**self.cast_data({k: v for k, v in batch.items() if k != 'augment'}))
        # One view at a time, since floats take four times the memory.
        changed = (augment_batch(*view) for view in zip(moved.inputs, augment, strict=True))
        return moved.replace(inputs=[self.normalize(pixels) for pixels in changed])
