# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reconstruction of masked patches. B batch, M masked patches, P values per patch."""

from torch import Tensor, nn

from vicmae.registry import MODELS

from .precision import full_precision


def normalize_patches(patches: Tensor, num_channels: int = 1) -> Tensor:
    """Normalises each patch to mean 0 and variance 1 over its values (MAE's `norm_pix`), or of each of its channels."""
    values = _per_channel(patches, num_channels)
    return ((values - _mean(values)) / _deviation(values)).flatten(-2)


def denormalize_patches(normalized: Tensor, patches: Tensor, num_channels: int = 1) -> Tensor:
    """Scales normalised patches by the mean and variance of the true ones, to show them as images."""
    values = _per_channel(patches, num_channels)
    scaled = _per_channel(normalized, num_channels) * _deviation(values)
    return (scaled + _mean(values)).flatten(-2)


def _per_channel(patches: Tensor, num_channels: int) -> Tensor:
    """Splits the values of patches by channel, which come last in their order: (..., P) -> (..., P/C, C)."""
    return patches.unflatten(-1, (-1, num_channels))


def _mean(values: Tensor) -> Tensor:
    return values.mean(dim=-2, keepdim=True)


def _deviation(values: Tensor) -> Tensor:
    return (values.var(dim=-2, keepdim=True) + 1e-6) ** 0.5


@MODELS.register_module()
class PixelReconstructionLoss(nn.Module):
    """Computes the mean squared error over the masked patches (ViC-MAE, equation 3).

    Patches of clips may also be compared by what changes from frame to frame, so that motion weighs more than what
    stands still:

        L = mean of (predicted - true)^2 + difference_weight * mean of (change predicted - true change)^2

    Args:
        norm_pix: Whether each target patch is normalised by its mean and variance. 'channel' normalises each channel of
            a patch by itself (VideoMAE, OmniMAE).
        in_channels: Number of colour channels, for 'channel'.
        difference_weight: Weight of the change between successive frames of a patch, at least 0.
        tubelet_size: Number of frames of a patch, for `difference_weight`. The model fills it in.

    Shape:
        (B, M, P), (B, M, P) -> ()
    """

    def __init__(
        self,
        norm_pix: bool | str = True,
        in_channels: int = 3,
        difference_weight: float = 0.0,
        tubelet_size: int = 1,
    ) -> None:
        super().__init__()
        if norm_pix not in (True, False, 'channel'):
            raise ValueError(f"`norm_pix` must be True, False or 'channel', got {norm_pix!r}.")
        if not difference_weight >= 0:
            raise ValueError(f'`difference_weight` must not be negative, got {difference_weight}.')
        if difference_weight and tubelet_size < 2:
            raise ValueError(
                f'`difference_weight` {difference_weight} compares the frames of a patch, but a patch has one frame. '
                'Set `backbone.tubelet_size=2`, or `difference_weight=0`.'
            )
        self.norm_pix = norm_pix
        self.difference_weight = difference_weight
        self.tubelet_size = tubelet_size
        self.num_channels = in_channels if norm_pix == 'channel' else 1

    def forward(self, predicted: Tensor, patches: Tensor) -> Tensor:
        with full_precision(predicted, patches) as (predicted, patches):
            if patches.numel() == 0:  # nothing is masked: the mean would be 0/0
                return predicted.sum()
            if self.norm_pix:
                patches = normalize_patches(patches, self.num_channels)
            errors = predicted - patches
            loss = errors.square().mean()
            if self.difference_weight:
                of_frames = errors.unflatten(-1, (self.tubelet_size, -1))  # (B, M, t, P/t)
                loss = loss + self.difference_weight * of_frames.diff(dim=-2).square().mean()
            return loss
