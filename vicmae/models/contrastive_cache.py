# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Encodes a batch in parts. R rows of a batch (views and samples), C channels, H W pixels, D width."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vicmae.registry import MODELS

from .masking import Mask

__all__ = ['ContrastiveCache']

Encode = Callable[[Tensor, Mask], dict[str, Tensor]]


@MODELS.register_module()
class ContrastiveCache(nn.Module):
    """Encodes a batch in parts: the contrastive loss covers the whole batch with the memory of one part.

    Only the pooled tokens of each part are kept for the loss, and the backward pass encodes each part again (GradCache,
    https://arxiv.org/abs/2101.06983). This costs one more forward pass. Losses and gradients are those of the whole
    batch, also with batch norm in the heads. The pixels of the whole batch are on the device.

    Use it instead of gradient accumulation, whose small batches have few negatives: instead of
    `optim_wrapper.accumulative_counts=4`, set `num_parts=4` and a `batch_size` four times as large.

    Args:
        num_parts: Number of parts of a batch, at least 1.
    """

    def __init__(self, num_parts: int) -> None:
        super().__init__()
        if num_parts < 1 or num_parts != int(num_parts):
            raise ValueError(
                f'`num_parts` must be an integer of at least 1, got {num_parts}. A batch that fits into memory '
                'needs no `contrastive_cache`.'
            )
        self.num_parts = num_parts

    def forward(
        self, encode: Encode, teach: Encode, views: Tensor, mask: Mask
    ) -> dict[str, Tensor]:
        """Calls both functions on parts of the rows, `teach` without gradient. Joins vectors and averages losses."""
        chunks = (tensor.chunk(self.num_parts) for tensor in (views, *mask))
        parts = [(rows, Mask(*ids)) for rows, *ids in zip(*chunks, strict=True)]
        results = [
            {**checkpoint(encode, *part, use_reentrant=False), **teach(*part)} for part in parts
        ]
        shares = [len(rows) / len(views) for rows, _ in parts]
        return {name: join_parts([r[name] for r in results], shares) for name in results[0]}

    def extra_repr(self) -> str:
        return f'num_parts={self.num_parts}'


def join_parts(values: list[Tensor], shares: list[float], dim: int = 0) -> Tensor:
    """Joins the results of a batch's parts: vectors along `dim`, losses as the mean weighted by `shares`."""
    if values[0].ndim:
        return torch.cat(values, dim)
    return torch.stack([v * share for v, share in zip(values, shares, strict=True)]).sum()
