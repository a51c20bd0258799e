# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Prepares batches of labelled images and clips. B batch, V views, C channels, T H W frames and pixels."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models.utils.batch_augments import CutMix, Mixup, RandomBatchAugment
from torch import Tensor

from vicmae.registry import MODELS
from vicmae.structures import Batch, Clips
from vicmae.utils.numpy_seed import seeded_numpy

from .pixels import PixelPreprocessor


@MODELS.register_module()
class LabelledPreprocessor(PixelPreprocessor):
    """Moves labelled images or clips to the device, normalises them, and mixes them in training.

    Mixup (https://arxiv.org/abs/1710.09412) and CutMix (https://arxiv.org/abs/1905.04899) are mmpretrain's. With both,
    each batch gets one of them, as in MAE, and all frames of a clip get the same. They draw from torch's random state.

    Args:
        num_classes: Number of classes, for mixing. The model fills it in from the head.
        mixup_alpha: Parameter of mixup's beta distribution, at least 0. 0 disables mixup.
        cutmix_alpha: Parameter of cutmix's beta distribution, at least 0. 0 disables cutmix.
        kwargs: Further arguments of `PixelPreprocessor`: `mean`, `std`, `non_blocking`.

    Shape:
        training: B images (C, H, W) or clips (T, C, H, W) uint8 -> (B, C, H, W) or (B, T, C, H, W) float
        evaluation: B clips (T, C, H, W), or (V, T, C, H, W), uint8 -> the same as float
    """

    trained_on = Clips

    def __init__(
        self,
        *,
        num_classes: int | dict[str, int] | None = None,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, alpha in [('mixup_alpha', mixup_alpha), ('cutmix_alpha', cutmix_alpha)]:
            if alpha < 0:
                raise ValueError(
                    f'`{name}` must not be negative, got {alpha}. Set 0 to disable it.'
                )
        self.num_classes: Any = num_classes
        augments: list[Any] = [Mixup(float(mixup_alpha))] if mixup_alpha else []
        augments += [CutMix(float(cutmix_alpha))] if cutmix_alpha else []
        self.mix = RandomBatchAugment(augments) if augments else None
        if augments and num_classes is None:
            raise ValueError('Mixup and cutmix need `num_classes`, got None. Set that of the head.')

    def prepare(self, data: Mapping[str, Any], training: bool) -> Batch:
        """Normalises the pixels. In training it also stacks and mixes them, with class shares for mixed samples."""
        if not training:
            return super().prepare(data, training)
        batch = self.take(data, training)
        inputs = self.stack_and_mix(batch.inputs, batch.data_samples, self.num_classes)
        return batch.replace(inputs=inputs)

    def stack_and_mix(
        self, inputs: Sequence[Tensor], samples: Sequence[Any], num_classes: int | None
    ) -> Tensor:
        """Stacks, normalises and mixes inputs of one shape. The samples get labels, or class shares, on the device."""
        images: Any = self.cast_data(torch.stack(list(inputs)))
        labels: Any = self.cast_data(torch.cat([sample.gt_label for sample in samples]))
        images, shares = self._mix(self.normalize(images), labels, num_classes)
        for number, sample in enumerate(samples):
            sample.set_gt_label(labels[number : number + 1])
            if shares is not None:
                sample.set_gt_score(shares[number])
        return images

    def _mix(
        self, images: Tensor, labels: Tensor, num_classes: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """Returns mixed images with their class shares (B, number of classes), or unmixed images with None."""
        if self.mix is None or num_classes is None:
            return images, None
        shares = F.one_hot(labels, num_classes).to(images.dtype)
        with seeded_numpy(int(torch.randint(2**31, ()))):
            # Treat frames as channels: cutmix expects pixels in the last two of four dimensions.
            mixed, shares = self.mix(images.flatten(1, -3), shares)
        return mixed.view_as(images), shares
