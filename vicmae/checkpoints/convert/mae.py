# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Names in checkpoints of MAE's code, https://github.com/facebookresearch/mae."""

from .table import CONV, LINEAR, NORM, TOKENS, Module, Table

TABLE = Table(
    modules={
        'encoder': (
            Module('cls_token', 'backbone.cls_token', TOKENS),
            Module('pos_embed', 'backbone.pos_embed', TOKENS),
            Module('patch_embed.proj', 'backbone.patch_embed.projection', CONV),
            Module('norm', 'backbone.ln1', NORM),
        ),
        'decoder': (
            Module('mask_token', 'neck.mask_token', TOKENS),
            Module('decoder_pos_embed', 'neck.decoder_pos_embed', TOKENS),
            Module('decoder_embed', 'neck.decoder_embed', LINEAR),
            Module('decoder_norm', 'neck.decoder_norm', NORM),
            Module('decoder_pred', 'neck.decoder_pred', LINEAR),
        ),
    },
    layers={
        'encoder': ('blocks.{i}', 'backbone.layers.{i}'),
        'decoder': ('decoder_blocks.{i}', 'neck.decoder_blocks.{i}'),
    },
    layer=(
        Module('norm1', 'ln1', NORM),
        Module('attn.qkv', 'attn.qkv', LINEAR),
        Module('attn.proj', 'attn.proj', LINEAR),
        Module('norm2', 'ln2', NORM),
        Module('mlp.fc1', 'ffn.layers.0.0', LINEAR),
        Module('mlp.fc2', 'ffn.layers.1', LINEAR),
    ),
)
