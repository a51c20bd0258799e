# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Names in files of Hugging Face transformers: ViT, ViT-MAE, VideoMAE and DINOv2, as on the hub.

Queries, keys and values are split there. VideoMAE computes its positions, and its keys have no bias.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from . import mae
from .table import CONV, CONV_3D, LINEAR, NORM, TOKENS, VECTOR, WEIGHT, Module, Table, prefix_before
from .video_mae import computed_positions, join_bias

_PATCHES = 'embeddings.patch_embeddings.projection.weight'
_HEADS = tuple(f'attention.attention.{head}' for head in ('query', 'key', 'value'))


def _join(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return torch.cat([query, key, value])


_ATTENTION = (
    Module(_HEADS, 'attn.qkv', LINEAR, _join),
    Module('attention.output.dense', 'attn.proj', LINEAR),
)
_LAYER = (
    Module('layernorm_before', 'ln1', NORM),
    *_ATTENTION,
    Module('layernorm_after', 'ln2', NORM),
    Module('intermediate.dense', 'ffn.layers.0.0', LINEAR),
    Module('output.dense', 'ffn.layers.1', LINEAR),
)
_DINOV2_LAYER = (
    *(module for module in mae.TABLE.layer if not module.ours.startswith('attn.')),
    *_ATTENTION,
    Module('layer_scale1.lambda1', 'attn.gamma1.weight', VECTOR),
    Module('layer_scale2.lambda1', 'ffn.gamma2.weight', VECTOR),
)
_DECODERS = ('decoder.decoder_layers', 'decoder.decoder_encoder.layer')
_BIASES = ('attention.attention.q_bias', 'attention.attention.v_bias')
_VIDEO_LAYER = (
    Module(_HEADS, 'attn.qkv', WEIGHT, _join),
    Module(_BIASES, 'attn.qkv.bias', VECTOR, join_bias),
    *(module for module in _LAYER if module.ours != 'attn.qkv'),
)


def table_of(keys: Collection[str]) -> Table:
    """Returns the table of a file, by the names of its tensors."""
    prefix = prefix_before(_PATCHES, keys)
    layers = dict(encoder=('encoder.layer.{i}', 'backbone.layers.{i}'))
    if any(key.endswith('attention.q_bias') for key in keys):
        embedding = Module(_PATCHES.removesuffix('.weight'), _PROJECTION, CONV_3D)
        norm = Module('layernorm', 'backbone.ln1', NORM)
        modules = dict(encoder=(embedding, *computed_positions(_PATCHES), norm))
        return Table(modules, layers, _VIDEO_LAYER, prefix)
    if any(key.endswith('layer_scale1.lambda1') for key in keys):
        return Table(dict(encoder=_ENCODER), layers, _DINOV2_LAYER, prefix)
    # A decoder's names have no prefix. transformers 5 writes its layers under another name than the files of the hub.
    stem = next((s for s in _DECODERS if any(key.startswith(f'{s}.') for key in keys)), None)
    if stem is None:
        return Table(dict(encoder=_ENCODER), layers, _LAYER, prefix)
    encoder = tuple(module._replace(theirs=f'{prefix}{module.theirs}') for module in _ENCODER)
    layers = dict(
        encoder=(f'{prefix}encoder.layer.{{i}}', 'backbone.layers.{i}'),
        decoder=(f'{stem}.{{i}}', 'neck.decoder_blocks.{i}'),
    )
    return Table(dict(encoder=encoder, decoder=_DECODER), layers, _LAYER)


_PROJECTION = 'backbone.patch_embed.projection'
_ENCODER = (
    Module('embeddings.cls_token', 'backbone.cls_token', TOKENS),
    Module('embeddings.position_embeddings', 'backbone.pos_embed', TOKENS),
    Module(_PATCHES.removesuffix('.weight'), _PROJECTION, CONV),
    Module('layernorm', 'backbone.ln1', NORM),
)
_DECODER = tuple(
    module._replace(theirs=f'decoder.{module.theirs}') for module in mae.TABLE.modules['decoder']
)
