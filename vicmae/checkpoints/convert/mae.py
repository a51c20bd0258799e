# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Names in checkpoints of MAE's code, https://github.com/facebookresearch/mae."""

from collections.abc import Mapping

# Kinds of modules: suffixes of their keys, with the number of dimensions.
Kind = Mapping[str, int]
TOKENS: Kind = {'': 3}
LINEAR: Kind = {'.weight': 2, '.bias': 1}
CONV: Kind = {'.weight': 4, '.bias': 1}
NORM: Kind = {'.weight': 1, '.bias': 1}

# By part of the model: the name in MAE's code, the name in vicmae, the kind.
Module = tuple[str, str, Kind]
MODULES: dict[str, tuple[Module, ...]] = {
    'encoder': (
        ('cls_token', 'backbone.cls_token', TOKENS),
        ('pos_embed', 'backbone.pos_embed', TOKENS),
        ('patch_embed.proj', 'backbone.patch_embed.projection', CONV),
        ('norm', 'backbone.ln1', NORM),
    ),
    'decoder': (
        ('mask_token', 'neck.mask_token', TOKENS),
        ('decoder_pos_embed', 'neck.decoder_pos_embed', TOKENS),
        ('decoder_embed', 'neck.decoder_embed', LINEAR),
        ('decoder_norm', 'neck.decoder_norm', NORM),
        ('decoder_pred', 'neck.decoder_pred', LINEAR),
    ),
}
LAYERS = {
    'encoder': ('blocks.{i}', 'backbone.layers.{i}'),
    'decoder': ('decoder_blocks.{i}', 'neck.decoder_blocks.{i}'),
}
LAYER: tuple[Module, ...] = (
    ('norm1', 'ln1', NORM),
    ('attn.qkv', 'attn.qkv', LINEAR),
    ('attn.proj', 'attn.proj', LINEAR),
    ('norm2', 'ln2', NORM),
    ('mlp.fc1', 'ffn.layers.0.0', LINEAR),
    ('mlp.fc2', 'ffn.layers.1', LINEAR),
)
