# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Converts uint8 from the workers to normalised floats on the device. C channels, H W pixels."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from vicmae.errors import ConfigError
from vicmae.structures import Batch, Mixed, as_batch, as_one_kind


class PixelPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device and normalises its pixels. Subclasses add augmentations for training.

    Args:
        mean: Mean of each channel, between 0 and 255.
        std: Standard deviation of each channel, between 0 and 255.
        non_blocking: Whether copies to the device may overlap with computation.
    """

    trained_on: type[Batch]

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        if len(mean) != len(std):
            raise ValueError(
                f'`mean` and `std` must have the same length, got {len(mean)} and {len(std)}.'
            )
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, data: Mapping[str, Any], training: bool = False) -> Batch:
        """Prepares a batch from the loader. Of a mixed one, it prepares the batch of each kind."""
        batch = as_batch(data)
        if isinstance(batch, Mixed):
            return batch.replace(inputs=[self.prepare(one, training) for one in batch.inputs])
        return self.prepare(batch, training)

    def prepare(self, data: Mapping[str, Any], training: bool) -> Batch:
        """Moves and normalises a batch of one kind."""
        batch = self.take(data, training)
        moved = batch.replace(**self.cast_data(dict(batch)))
        return moved.replace(inputs=[self.normalize(pixels) for pixels in moved.inputs])

    def take(self, data: Mapping[str, Any], training: bool) -> Any:
        """Converts a batch of one kind to its type, and checks that the model can train on it."""
        batch = as_one_kind(data)
        if training and not isinstance(batch, self.trained_on):
            raise ConfigError(
                f'{type(self).__name__} trains on {self.trained_on.__name__}, got a batch of '
                f'{type(batch).__name__}. End the pipeline with `PackViews` for pretraining, with `PackImage` or '
                '`PackClip` for a classifier.'
            )
        return batch

    def normalize(self, pixels: Tensor) -> Tensor:
        """Normalises each channel by `mean` and `std`: (..., C, H, W) -> (..., C, H, W)."""
        # In place, since a batch of clips takes gigabytes.
        return (pixels.float() - self.mean).div_(self.std)

    def denormalize(self, pixels: Tensor) -> Tensor:
        """Inverts `normalize`, to uint8."""
        return (pixels * self.std + self.mean).round().clamp(0, 255).to(torch.uint8)
