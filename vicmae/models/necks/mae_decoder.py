# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Decoder from visible tokens to masked patches, of images or clips.

B batch, t h w the patch grid, N = t*h*w patches, K kept, M masked, D width, P values per patch; E width of the decoder.
"""

from typing import Any, ClassVar

import torch
from mmengine.model import BaseModule
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from torch import Tensor, nn

from vicmae.registry import MODELS

from ..layers import (
    TIME_TABLES,
    Grid,
    check_pos_embed_type,
    checkpoint_layers,
    fit_position_tables,
    gather_tokens,
    grid_positions,
    init_linear_layers,
    space_table,
    time_table,
)
from ..masking import Mask


@MODELS.register_module()
class MAEDecoder(BaseModule):
    """Predicts masked patches by MAE's light transformer decoder (https://arxiv.org/abs/2111.06377, section 3).

    It attends to visible tokens and mask tokens, and predicts masked patches only, as the loss ignores others. On clips
    it attends to all patches of all time steps, and an image has one time step.

    Args:
        in_dim: Width of the encoder's tokens. The model fills it in from the backbone, as the next five.
        grid: Number of patches along time, height and width.
        patch_values: Number of values per patch, P.
        num_prefix_tokens: Number of tokens before those of the patches, such as the class token.
        pos_embed_type: Type of the position embeddings, as that of `MaskedViT`.
        learn_pos_embed: Whether positions in space are trained too.
        own_cls_token: Whether the decoder has a class token of its own, instead of the encoded one (MAE-ST).
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
        pos_embed_type: str = 'separable',
        learn_pos_embed: bool = False,
        own_cls_token: bool = False,
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
        check_pos_embed_type(pos_embed_type, learn_pos_embed)
        if own_cls_token and num_prefix_tokens != 1:
            raise ValueError(
                f'`own_cls_token` replaces the class token of the encoder, which has {num_prefix_tokens} of them. Set '
                '`backbone.with_cls_token=True`, or `own_cls_token=False`.'
            )
        self.grid = grid
        self.num_prefix_tokens = num_prefix_tokens
        self.pos_embed_type = pos_embed_type
        self.learn_pos_embed = learn_pos_embed
        self.decoder_embed = nn.Linear(in_dim, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.decoder_pos_embed = nn.Parameter(
            space_table(pos_embed_type, grid, embed_dim, num_prefix_tokens=num_prefix_tokens),
            requires_grad=learn_pos_embed,
        )
        if grid[0] > 1:
            table = nn.Parameter(
                time_table(pos_embed_type, grid, embed_dim),
                requires_grad=pos_embed_type != 'sinusoid',
            )
            self.register_parameter(self._time_table_name, table)
        self.decoder_cls_token = (
            nn.Parameter(torch.zeros(1, 1, embed_dim)) if own_cls_token else None
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
        if self.decoder_cls_token is not None:
            nn.init.normal_(self.decoder_cls_token, std=0.02)
        if self.learn_pos_embed:
            for table in (self.decoder_pos_embed, self._time_table):
                if table is not None:
                    nn.init.trunc_normal_(table, std=0.02)

    @property
    def _time_table_name(self) -> str:
        return f'decoder_{TIME_TABLES[self.pos_embed_type]}'

    @property
    def _time_table(self) -> nn.Parameter | None:
        return getattr(self, self._time_table_name) if self.grid[0] > 1 else None

    def forward(self, tokens: Tensor, mask: Mask, grid: Grid | None = None) -> Tensor:
        """Predicts the pixels of the masked patches, on the grid of the constructor or on `grid`."""
        x = self.decoder_embed(tokens)  # (B, 1 + K, E)
        prefix, visible = x[:, : self.num_prefix_tokens], x[:, self.num_prefix_tokens :]
        if self.decoder_cls_token is not None:
            prefix = self.decoder_cls_token.to(visible.dtype).expand(len(visible), -1, -1)
        x = torch.cat([prefix, self._fill_in_mask_tokens(visible, mask)], dim=1)  # (B, 1 + N, E)
        x = x + self.positions(grid or self.grid)
        for block in self.decoder_blocks:
            x = block(x)
        masked = gather_tokens(x[:, self.num_prefix_tokens :], mask.ids_masked)  # (B, M, E)
        return self.decoder_pred(self.decoder_norm(masked))

    def _fill_in_mask_tokens(self, visible: Tensor, mask: Mask) -> Tensor:
        """Puts visible tokens at their positions in the grid, and mask tokens elsewhere: (B, K, E) -> (B, N, E)."""
        num_masked = mask.ids_masked.shape[1]
        mask_tokens = self.mask_token.to(visible.dtype).expand(visible.shape[0], num_masked, -1)
        return gather_tokens(torch.cat([visible, mask_tokens], dim=1), mask.ids_restore)

    def positions(self, grid: Grid) -> Tensor:
        """Returns the position embeddings of prefix tokens and of a grid's patches: (1, 1 + N, E)."""
        return grid_positions(
            self.decoder_pos_embed,
            self._time_table,
            self.pos_embed_type,
            self.grid,
            grid,
            num_prefix_tokens=self.num_prefix_tokens,
        )

    def fit_checkpoint(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Fits the position embeddings of a checkpoint of another input size or length, in place."""
        stem = f'{prefix}decoder_'
        if f'{stem}pos_embed' in state_dict:
            fit_position_tables(
                state_dict,
                stem,
                pos_embed_type=self.pos_embed_type,
                grid=self.grid,
                has_time=self.grid[0] > 1,
                num_prefix_tokens=self.num_prefix_tokens,
                from_image=not any(f'{stem}{name}' in state_dict for name in TIME_TABLES.values()),
                warn=False,
            )
