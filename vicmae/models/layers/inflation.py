# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Converts patch embeddings of images to clips, and back. D width, C channels, t frames and p p pixels of a patch."""

import warnings

from torch import Tensor

INFLATIONS = ('average', 'centre')


def inflate(weight: Tensor, tubelet_size: int, how: str = 'average') -> Tensor:
    """Converts a patch embedding of images to clips: (D, C, p, p) -> (D, C, t, p, p).

    For clips of equal frames, the output is that of the image. 'average' distributes the weights equally over the
    frames (I3D, https://arxiv.org/abs/1705.07750). 'centre' assigns them to the middle frame, or the later of two
    (ViViT, https://arxiv.org/abs/2103.15691).
    """
    if how == 'average':
        return weight.unsqueeze(2).repeat(1, 1, tubelet_size, 1, 1) / tubelet_size
    inflated = weight.new_zeros(*weight.shape[:2], tubelet_size, *weight.shape[2:])
    inflated[:, :, tubelet_size // 2] = weight
    return inflated


def deflate(weight: Tensor) -> Tensor:
    """Converts a patch embedding of clips to images: (D, C, t, p, p) -> (D, C, p, p). The inverse of `inflate`."""
    return weight.sum(dim=2)


def fit_patch_embed(
    loaded: Tensor, tubelet_size: int | None, how: str = 'average', *, warn: bool = False
) -> Tensor:
    """Fits the patch embedding of a checkpoint to a model's `tubelet_size`, None for images."""
    if loaded.ndim == 4:
        return loaded if tubelet_size is None else inflate(loaded, tubelet_size, how)
    if tubelet_size is None:
        return deflate(loaded)
    if loaded.shape[2] == tubelet_size:
        return loaded
    if warn:
        warnings.warn(
            f'The checkpoint has patches of {loaded.shape[2]} frames, the model of {tubelet_size}. The output for '
            'patches without motion stays the same, but information on motion within patches is lost.',
            stacklevel=2,
        )
    return inflate(deflate(loaded), tubelet_size, how)
