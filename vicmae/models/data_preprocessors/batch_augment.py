# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Augments batches of views on the device, each view with its own values.

The results are those of `RandomFlip`, `ColorJitter`, `RandomGrayscale`, `GaussianBlur` and `RandomSolarize` of
`vicmae.datasets`, but in float32, without rounding in between. B views, C = 3 channels, T H W frames and pixels.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vicmae.structures import FIELDS, STEPS

LUMA = (0.299, 0.587, 0.114)
# An augmentation copies at most this many views at once: about 40 MB at 224 x 224 pixels.
CHUNK = 64


@torch.no_grad()
def augment_batch(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Augments views in 0..255 by the values of `vicmae.structures.FIELDS`, in the order of `STAGES`.

    Each frame of a clip is augmented like an image, by the values of the clip. The views to change are selected on the
    host: with `numbers` on the CPU, it doesn't wait for the device.

    Shape:
        (B, C, H, W) or (B, T, C, H, W), (B, F) -> the same shape, float32
    """
    augmented = pixels.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    views = augmented.view(-1, *pixels.shape[-3:])  # frames are changed in place, one by one
    values = numbers.cpu().numpy().repeat(len(views) // len(pixels), axis=0)
    fields = dict(zip(FIELDS, values.T, strict=True))  # (B,) each
    with torch.autocast(pixels.device.type, enabled=False):
        _change(views, fields['flip'] > 0, lambda chosen: chosen.flip(-1))
        for step in range(len(STEPS)):
            brightness, contrast, saturation, hue = (
                np.where(fields[f'{name}_step'] == step, fields[name], unchanged)
                for name, unchanged in zip(STEPS, (1, 1, 1, 0), strict=True)
            )
            pixel = brightness * contrast * saturation  # at most one of them is not 1
            _change(views, pixel != 1, blend, pixel, 1 - saturation, 1 - contrast)
            _change(views, hue != 0, turn_hue, hue)
        _change(views, fields['grayscale'] > 0, lambda chosen: luma(chosen).expand_as(chosen))
        horizontal = gaussians(fields['blur_sigma'], fields['blur_width'])
        vertical = gaussians(fields['blur_sigma'], fields['blur_height'])
        _change(views, fields['blur_sigma'] > 0, blur, horizontal, vertical)
        _change(views, fields['solarize'] < 256, solarize, fields['solarize'])
    return augmented


def _change(
    views: Tensor, chosen: np.ndarray, change: Callable[..., Tensor], *numbers: np.ndarray
) -> None:
    """Replaces the chosen views (B,) by changed ones. `change` may overwrite its argument."""

    def to_device(array: np.ndarray) -> Tensor:
        # A copy this small is asynchronous, even from memory that isn't pinned.
        return torch.from_numpy(array).to(views.device, non_blocking=True)

    ids = np.flatnonzero(chosen)
    for part in (ids[i : i + CHUNK] for i in range(0, len(ids), CHUNK)):
        index = to_device(part)
        values = [
            to_device(n[part].astype(np.float32).reshape(len(part), -1, 1, 1)) for n in numbers
        ]
        views.index_copy_(0, index, change(views.index_select(0, index), *values))


def luma(views: Tensor) -> Tensor:
    """Computes the gray of each pixel: (B, C, H, W) -> (B, 1, H, W)."""
    red, green, blue = views.split(1, dim=1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def blend(views: Tensor, pixel: Tensor, gray: Tensor, mean: Tensor) -> Tensor:
    """Sums each pixel, its gray and the view's mean gray by these weights, (B, 1, 1, 1) each."""
    grays = luma(views)
    other = grays * gray + grays.mean((2, 3), keepdim=True) * mean
    return views.mul_(pixel).add_(other).clamp_(0, 255)


def turn_hue(views: Tensor, turn: Tensor) -> Tensor:
    """Shifts the hue by (B, 1, 1, 1), where 1 is a full circle. The largest and smallest channel value don't change."""
    red, green, blue = views.split(1, dim=1)
    largest = views.amax(1, keepdim=True)
    chroma = largest - views.amin(1, keepdim=True)
    # Sixths of the circle: red at 0, green at 2, blue at 4. Grays have no chroma, so their hue has no effect.
    spread = chroma.clamp(min=1e-6)
    near_green = (blue - red) / spread + 2
    near_blue = (red - green) / spread + 4
    hue = torch.where(largest == green, near_green, near_blue)
    hue = torch.where(largest == red, (green - blue) / spread, hue) + 6 * turn
    # A channel has the largest value within one sixth of its hue, and the smallest beyond two.
    distances = [((hue - channel_hue + 3) % 6 - 3).abs_() for channel_hue in (0, 2, 4)]
    return torch.cat([largest - chroma * (d - 1).clamp_(0, 1) for d in distances], dim=1)


def gaussians(sigma: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Computes blur weights along one axis, (B, K), padded with zeros.

    If `size` is 0, their number is that of OpenCV for uint8.
    """
    # Near 0, only the central pixel has a weight.
    sigma = np.maximum(sigma, 1e-3)[:, None].astype(np.float64)
    size = np.where(size[:, None] > 0, size[:, None], np.rint(6 * sigma + 1).astype(int) | 1)
    offset = np.arange(size.max()) - size.max() // 2
    weights = np.exp(-(offset**2) / (2 * sigma**2)) * (abs(offset) <= size // 2)
    return weights / weights.sum(axis=1, keepdims=True)


def blur(views: Tensor, horizontal: Tensor, vertical: Tensor) -> Tensor:
    """Blurs along both axes with weights (B, K, 1, 1). The border is mirrored at the outermost pixel."""
    return _blur_rows(_blur_rows(views, horizontal).mT, vertical).mT


def _blur_rows(views: Tensor, weights: Tensor) -> Tensor:
    batch, channels, height, width = views.shape
    radius = weights.shape[1] // 2
    period = max(2 * (width - 1), 1)
    inside = torch.arange(-radius, width + radius, device=views.device) % period
    inside = torch.minimum(inside, period - inside)
    rows = views.index_select(-1, inside).view(1, batch * channels, height, -1)
    kernels = weights.view(batch, 1, 1, 1, -1).expand(-1, channels, -1, -1, -1).flatten(0, 1)
    return F.conv2d(rows, kernels, groups=batch * channels).view(views.shape)


def solarize(views: Tensor, threshold: Tensor) -> Tensor:
    """Inverts values that round to the threshold, (B, 1, 1, 1), or more."""
    return torch.where(views >= threshold - 0.5, 255 - views, views)
