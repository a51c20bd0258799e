# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""uint8 from the workers to normalised floats on the device. V views, B batch, C channels, T H W frames and pixels."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from vicmae.registry import MODELS

from .batch_augment import augment_batch


@MODELS.register_module()
class ViewPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device, makes the changes there that its workers only drew, and normalises it.

    A batch says in `augment` which changes those are, in one tensor (B, F) per view (see
    `vicmae.structures.FIELDS`); without it the views are normalised as they are.

    Args:
        mean: Mean of each channel, in 0..255.
        std: Standard deviation of each channel, in 0..255.
        non_blocking: Whether copies to the device overlap with computing.

    Shape:
        training: V batches (B, C, H, W) uint8 -> the same as float
        evaluation: B clips (T, C, H, W) uint8 -> the same as float
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        if len(mean) != len(std):
            raise ValueError(f'`mean` has {len(mean)} channels and `std` {len(std)}.')
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Changes and normalises `data['inputs']`, and drops `augment`; the rest only moves."""
        augment = data.get('augment')  # stays on the host, which reads it
        data = self.cast_data({key: value for key, value in data.items() if key != 'augment'})
        inputs = data['inputs']
        if augment is not None:
            # One after the other: floats take four times the memory.
            inputs = (augment_batch(*view) for view in zip(inputs, augment, strict=True))
        return {**data, 'inputs': [self.normalize(pixels) for pixels in inputs]}

    def normalize(self, pixels: Tensor) -> Tensor:
        """0..255 to mean 0 and variance 1, channel by channel: (..., C, H, W) -> (..., C, H, W)."""
        return (pixels.float() - self.mean) / self.std

    def denormalize(self, pixels: Tensor) -> Tensor:
        """The inverse of `normalize`, as uint8."""
        return (pixels * self.std + self.mean).round().clamp(0, 255).to(torch.uint8)
