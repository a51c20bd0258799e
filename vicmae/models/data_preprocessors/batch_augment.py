# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Random changes of views on the device, a batch at a time, each view by numbers of its own.

The same as `RandomFlip`, `ColorJitter`, `RandomGrayscale`, `GaussianBlur` and `RandomSolarize` of `vicmae.datasets` do
to one uint8 image, but in float32: nothing is rounded in between. B views, C = 3 channels, H W pixels.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vicmae.structures import FIELDS, STEPS

LUMA = (0.299, 0.587, 0.114)
# Of so many views at most a change holds copies: some 40 MB each for 224 x 224 pixels.
CHUNK = 64


@torch.no_grad()
def augment_batch(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Changes each view as its numbers say, in the order of `vicmae.structures.STAGES`.

    A change is paid for by the views that take part in it alone. Who does is looked up on the host, so with
    `numbers` on the CPU nothing waits for the device.

    Args:
        pixels: Views, in 0..255.
        numbers: For each view what `vicmae.structures.FIELDS` names.

    Shape:
        (B, C, H, W), (B, F) -> (B, C, H, W) float32, in 0..255
    """
    of = dict(zip(FIELDS, numbers.cpu().numpy().T, strict=True))  # (B,) each
    with torch.autocast(pixels.device.type, enabled=False):
        views = pixels.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        _change(views, of['flip'] > 0, lambda some: some.flip(-1))
        for step in range(len(STEPS)):
            brightness, contrast, saturation, hue = (
                np.where(of[f'{name}_step'] == step, of[name], unchanged)
                for name, unchanged in zip(STEPS, (1, 1, 1, 0), strict=True)
            )
            pixel = brightness * contrast * saturation  # one of them is another number than 1
            _change(views, pixel != 1, blend, pixel, 1 - saturation, 1 - contrast)
            _change(views, hue != 0, turn_hue, hue)
        _change(views, of['grayscale'] > 0, lambda some: luma(some).expand_as(some))
        horizontal = gaussians(of['blur_sigma'], of['blur_width'])
        vertical = gaussians(of['blur_sigma'], of['blur_height'])
        _change(views, of['blur_sigma'] > 0, blur, horizontal, vertical)
        _change(views, of['solarize'] < 256, solarize, of['solarize'])
    return views


def _change(
    views: Tensor, taking_part: np.ndarray, change: Callable[..., Tensor], *numbers: np.ndarray
) -> None:
    """Puts changed views in the place of those that take part.

    Args:
        views: (B, C, H, W).
        taking_part: Which of them, (B,).
        change: Takes some views, which it may overwrite, and their numbers.
        numbers: Of all views, (B, ...).
    """

    def to_device(array: np.ndarray) -> Tensor:
        # A copy this small leaves the host at once, also out of memory that isn't pinned.
        return torch.from_numpy(array).to(views.device, non_blocking=True)

    ids = np.flatnonzero(taking_part)
    for some in (ids[i : i + CHUNK] for i in range(0, len(ids), CHUNK)):
        index = to_device(some)
        own = [to_device(n[some].astype(np.float32).reshape(len(some), -1, 1, 1)) for n in numbers]
        views.index_copy_(0, index, change(views.index_select(0, index), *own))


def luma(views: Tensor) -> Tensor:
    """The gray of each pixel: (B, C, H, W) -> (B, 1, H, W)."""
    red, green, blue = views.split(1, dim=1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def blend(views: Tensor, pixel: Tensor, gray: Tensor, mean: Tensor) -> Tensor:
    """Adds up each pixel, its own gray and the view's mean gray, with these weights, (B, 1, 1, 1) each."""
    grays = luma(views)
    other = grays * gray + grays.mean((2, 3), keepdim=True) * mean
    return views.mul_(pixel).add_(other).clamp_(0, 255)


def turn_hue(views: Tensor, turn: Tensor) -> Tensor:
    """Turns the colour circle by (B, 1, 1, 1), where 1 is all around; largest and least channel stay as large."""
    red, green, blue = views.split(1, dim=1)
    largest = views.amax(1, keepdim=True)
    chroma = largest - views.amin(1, keepdim=True)
    # Sixths of the circle: red at 0, green at 2, blue at 4. Grays have no hue and no chroma: any will do.
    spread = chroma.clamp(min=1e-6)
    of_green = (blue - red) / spread + 2
    of_blue = (red - green) / spread + 4
    hue = torch.where(largest == green, of_green, of_blue)
    hue = torch.where(largest == red, (green - blue) / spread, hue) + 6 * turn
    # A channel is at the largest value within a sixth of its own hue, and at the least beyond two.
    away = [((hue - own + 3) % 6 - 3).abs_() for own in (0, 2, 4)]
    return torch.cat([largest - chroma * (one - 1).clamp_(0, 1) for one in away], dim=1)


def gaussians(sigma: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Weights of blurs along one axis, (B, K); with OpenCV's number of them for uint8 where `size` is 0.

    Shorter ones have zeros on both sides.
    """
    sigma = np.maximum(sigma, 1e-3)[:, None].astype(np.float64)  # next to 0 the pixel alone counts
    size = np.where(size[:, None] > 0, size[:, None], np.rint(6 * sigma + 1).astype(int) | 1)
    offset = np.arange(size.max()) - size.max() // 2
    weights = np.exp(-(offset**2) / (2 * sigma**2)) * (abs(offset) <= size // 2)
    return weights / weights.sum(axis=1, keepdims=True)


def blur(views: Tensor, horizontal: Tensor, vertical: Tensor) -> Tensor:
    """Blurs along both axes with weights (B, K, 1, 1); what lies outside mirrors the inside at the outermost pixel."""
    return _blur_rows(_blur_rows(views, horizontal).mT, vertical).mT


def _blur_rows(views: Tensor, weights: Tensor) -> Tensor:
    batch, channels, height, width = views.shape
    radius = weights.shape[1] // 2
    period = max(2 * (width - 1), 1)
    inside = torch.arange(-radius, width + radius, device=views.device) % period
    inside = torch.minimum(inside, period - inside)
    rows = views.index_select(-1, inside).view(1, batch * channels, height, -1)
    kernels = (
        weights.view(batch, 1, 1, -1)
        .expand(-1, channels, -1, -1)
        .reshape(-1, 1, 1, weights.shape[1])
    )
    return F.conv2d(rows, kernels, groups=batch * channels).view(views.shape)


def solarize(views: Tensor, threshold: Tensor) -> Tensor:
    """Inverts what would be rounded to the threshold, (B, 1, 1, 1), or more."""
    return torch.where(views >= threshold - 0.5, 255 - views, views)
