# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What models and checkpoints both know of a vision transformer. t h w the patch grid, D width."""

import torch
from torch import Tensor

# Width, depth and attention heads of the usual sizes. (mmpretrain's 'small' is an older one of width 768 and depth 8.)
SIZES = {
    'tiny': (192, 12, 3),
    'small': (384, 12, 6),
    'base': (768, 12, 12),
    'large': (1024, 24, 16),
    'huge': (1280, 32, 16),
}
# Position embeddings of clips, by `pos_embed_type`.
TIME_TABLES = {
    'separable': 'temporal_pos_embed',  # (1, t, D)
    'joint': 'joint_pos_embed',  # (1, t*h*w, D)
    'sinusoid': 'sinusoid_pos_embed',  # (1, t*h*w, D)
}


def sinusoid_pos_embed(num_positions: int, embed_dim: int) -> Tensor:
    """Computes the fixed 1D embedding of transformers, for patches that are numbered in grid order.

    Channel j of position n is sin(n / 10000^(j/D)) for even j, and cos(n / 10000^((j-1)/D)) for odd j.
    (https://arxiv.org/abs/1706.03762, section 3.5; as in VideoMAE and OmniMAE.)

    Shape:
        -> (num_positions, D)

    Example:
        >>> sinusoid_pos_embed(8 * 14 * 14, 8)[0]
        tensor([0., 1., 0., 1., 0., 1., 0., 1.])
    """
    if embed_dim % 2:
        raise ValueError(f'A sinusoid position embedding needs an even width, got {embed_dim}.')
    frequencies = 10000.0 ** (-torch.arange(0, embed_dim, 2, dtype=torch.float64) / embed_dim)
    angles = torch.arange(num_positions, dtype=torch.float64)[:, None] * frequencies  # (n, D/2)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).float()
