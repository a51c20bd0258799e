# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Names in checkpoints of MAE-ST's code, https://github.com/facebookresearch/mae_st.

There, queries, keys and values have a layer each, and positions are learned in space, in time and of the class token.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from . import mae
from .table import CONV_3D, LINEAR, NORM, TOKENS, Module, Table, prefix_before


def table_of(keys: Collection[str]) -> Table:
    """Returns the table of a file: of pretraining or, if it has a classifier, of fine-tuning."""
    prefix = prefix_before('patch_embed.proj.weight', keys)
    if f'{prefix}head.weight' in keys:
        modules = dict(encoder=_ENCODER, classifier=_CLASSIFIER)
    else:
        norm = Module('norm', 'backbone.ln1', NORM)
        modules = dict(encoder=(*_ENCODER, norm), decoder=_DECODER)
    layers = {part: mae.TABLE.layers[part] for part in modules if part in mae.TABLE.layers}
    return Table(modules, layers, _LAYER, prefix)


def join(*tensors: Tensor) -> Tensor:
    """Joins the rows of layers: those of queries, keys and values."""
    return torch.cat(tensors)


def join_positions(prefix: Tensor, patches: Tensor) -> Tensor:
    """Joins positions of class token and patches: (1, 1, D), (1, h*w, D) -> (1, 1 + h*w, D)."""
    return torch.cat([prefix, patches], dim=1)


_ENCODER = (
    Module('cls_token', 'backbone.cls_token', TOKENS),
    Module(('pos_embed_class', 'pos_embed_spatial'), 'backbone.pos_embed', TOKENS, join_positions),
    Module('pos_embed_temporal', 'backbone.temporal_pos_embed', TOKENS),
    Module('patch_embed.proj', 'backbone.patch_embed.projection', CONV_3D),
)
_DECODER = (
    Module('decoder_cls_token', 'neck.decoder_cls_token', TOKENS),
    Module(
        ('decoder_pos_embed_class', 'decoder_pos_embed_spatial'),
        'neck.decoder_pos_embed',
        TOKENS,
        join_positions,
    ),
    Module('decoder_pos_embed_temporal', 'neck.decoder_temporal_pos_embed', TOKENS),
    *(m for m in mae.TABLE.modules['decoder'] if m.ours != 'neck.decoder_pos_embed'),
)
_CLASSIFIER = (
    # Normalises after the mean over patches, where pretraining normalises each patch.
    Module('norm', 'head.norm', NORM),
    Module('head', 'head.fc', LINEAR),
)
_LAYER = (
    Module(('attn.q', 'attn.k', 'attn.v'), 'attn.qkv', LINEAR, join),
    *(module for module in mae.TABLE.layer if module.ours != 'attn.qkv'),
)
