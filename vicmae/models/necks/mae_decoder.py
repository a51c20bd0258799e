# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Decoder from visible tokens to masked patches.

B batch, N patches, K kept, M masked, D width, P values per patch; E width of the decoder.
"""

from typing import Any, ClassVar

import torch
from mmengine.model import BaseModule
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from torch import Tensor, nn

from vicmae.registry import MODELS

from ..layers import (
    Grid,
    checkpoint_layers,
    fit_pos_embed,
    gather_tokens,
    init_linear_layers,
    resize_pos_embed,
    sincos_pos_embed,
)
from ..masking import Mask


@MODELS.register_module()
class MAEDecoder(BaseModule):
    """Predicts masked patches by MAE's light transformer decoder (https://arxiv.org/abs/2111.06377, section 3).

    It attends to visible tokens and mask tokens, and predicts masked patches only, as the loss ignores others.

    Args:
        in_dim: Width of the encoder's tokens. The model fills it in from the backbone, as the next three.
        grid: Number of patches along time, height and width.
        patch_values: Number of values per patch, P.
        num_prefix_tokens: Number of tokens before those of the patches, such as the class token.
        embed_dim: Width of the decoder, a multiple of `num_heads`.
        depth: Number of transformer layers, at least 0.
        num_heads: Number of attention heads.
        mlp_ratio: Hidden width of the feed-forward layers over `embed_dim`.
        with_cp: Whether to use activation checkpointing in each layer, for less memory.

    Shape:
        (B, 1 + K, in_dim) -> (B, M, P), masked patches in grid order
    """

    model_sizes: ClassVar = {
        'tiny': dict(embed_dim=128, depth=4, num_heads=4),
        'small': dict(embed_dim=256, depth=8, num_heads=8),
        'base': dict(embed_dim=512, depth=8, num_heads=16),
        'large': dict(embed_dim=512, depth=8, num_heads=16),
        'huge': dict(embed_dim=512, depth=8, num_heads=16),
    }

    def __init__(
        self,
        *,
        in_dim: int,
        grid: Grid,
        patch_values: int,
        num_prefix_tokens: int = 1,
        embed_dim: int = 512,
        depth: int = 8,
        num_heads: int = 16,
        mlp_ratio: float = 4,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(
                f'`embed_dim` {embed_dim} of the decoder must be a multiple of `num_heads` {num_heads}.'
            )
        if depth < 0:
            raise ValueError(f'`depth` of the decoder must not be negative, got {depth}.')
        frames, rows, columns = grid
        if frames != 1:
            raise ValueError(
                f'MAEDecoder reconstructs single frames, with a grid of (1, rows, columns), got {grid}.'
            )
        self.grid = grid
        self.num_prefix_tokens = num_prefix_tokens
        self.decoder_embed = nn.Linear(in_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.decoder_pos_embed = nn.Parameter(
            sincos_pos_embed((rows, columns), embed_dim, num_prefix_tokens=num_prefix_tokens),
            requires_grad=False,
        )
        self.decoder_blocks = nn.ModuleList(
            TransformerEncoderLayer(
                embed_dim, num_heads, int(mlp_ratio * embed_dim), norm_cfg=dict(type='LN', eps=1e-6)
            )
            for _ in range(depth)
        )
        self.decoder_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.decoder_pred = nn.Linear(embed_dim, patch_values)
        if with_cp:
            checkpoint_layers(self.decoder_blocks)

    def init_weights(self) -> None:
        """Initialises weights as in MAE."""
        super().init_weights()
        init_linear_layers(self)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, mask: Mask, grid: Grid | None = None) -> Tensor:
        """Predicts the pixels of the masked patches, on the grid of the constructor or on `grid`."""
        x = self.decoder_embed(tokens)  # (B, 1 + K, E)
        prefix, visible = x[:, : self.num_prefix_tokens], x[:, self.num_prefix_tokens :]
        x = torch.cat([prefix, self._fill_in_mask_tokens(visible, mask)], dim=1)  # (B, 1 + N, E)
        x = x + resize_pos_embed(
            self.decoder_pos_embed,
            self.grid,
            grid or self.grid,
            num_prefix_tokens=self.num_prefix_tokens,
        )
        for block in self.decoder_blocks:
            x = block(x)
        masked = gather_tokens(x[:, self.num_prefix_tokens :], mask.ids_masked)  # (B, M, E)
        return self.decoder_pred(self.decoder_norm(masked))

    def _fill_in_mask_tokens(self, visible: Tensor, mask: Mask) -> Tensor:
        """Puts visible tokens at their positions in the grid, and mask tokens elsewhere: (B, K, E) -> (B, N, E)."""
        num_masked = mask.ids_masked.shape[1]
        mask_tokens = self.mask_token.to(visible.dtype).expand(visible.shape[0], num_masked, -1)
        return gather_tokens(torch.cat([visible, mask_tokens], dim=1), mask.ids_restore)

    def fit_checkpoint(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Fits the position embeddings of a checkpoint of another input size, in place."""
        name = f'{prefix}decoder_pos_embed'
        if name in state_dict:
            state_dict[name] = fit_pos_embed(
                state_dict[name], self.grid, num_prefix_tokens=self.num_prefix_tokens
            )
