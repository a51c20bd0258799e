# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reconstruction of masked patches. B batch, M masked patches, P values per patch."""

from torch import Tensor, nn

from vicmae.registry import MODELS

from .precision import full_precision


def normalize_patches(patches: Tensor) -> Tensor:
    """Normalises each patch to mean 0 and variance 1 over its values (MAE's `norm_pix`)."""
    mean = patches.mean(dim=-1, keepdim=True)
    variance = patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6) ** 0.5


def denormalize_patches(normalized: Tensor, patches: Tensor) -> Tensor:
    """Scales normalised patches by the mean and variance of the true ones, to show them as images."""
    mean = patches.mean(dim=-1, keepdim=True)
    variance = patches.var(dim=-1, keepdim=True)
    return normalized * (variance + 1e-6) ** 0.5 + mean


@MODELS.register_module()
class PixelReconstructionLoss(nn.Module):
    """Computes the mean squared error over the masked patches (ViC-MAE, equation 3).

    Args:
        norm_pix: Whether each target patch is normalised by its mean and variance.

    Shape:
        (B, M, P), (B, M, P) -> ()
    """

    def __init__(self, norm_pix: bool = True) -> None:
        super().__init__()
        self.norm_pix = norm_pix

    def forward(self, predicted: Tensor, patches: Tensor) -> Tensor:
        with full_precision(predicted, patches) as (predicted, patches):
            if patches.numel() == 0:  # nothing is masked: the mean would be 0/0
                return predicted.sum()
            if self.norm_pix:
                patches = normalize_patches(patches)
            return (predicted - patches).square().mean()
