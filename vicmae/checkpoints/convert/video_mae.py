# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Names in checkpoints of VideoMAE and VideoMAEv2, which are the same.

https://github.com/MCG-NJU/VideoMAE, https://github.com/OpenGVLab/VideoMAEv2. There, keys of the attention and the input
of the decoder have no bias, and positions are computed and not stored.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from . import mae
from .positions import first_step, later_steps, sinusoid, stored_positions
from .table import CONV_3D, LINEAR, NORM, TOKENS, VECTOR, WEIGHT, Module, Table, prefix_before

_PATCHES = 'patch_embed.proj.weight'
_SINUSOID = 'a sinusoid, for 16 frames of 224 x 224 pixels'


def table_of(keys: Collection[str]) -> Table:
    """Returns the table of a file: of pretraining or, if it has a classifier, of fine-tuning."""
    prefix = prefix_before(_PATCHES, keys)
    is_fine_tuned = not {f'{prefix}fc_norm.weight', f'{prefix}head.weight'}.isdisjoint(keys)
    stem = 'encoder.' if prefix.endswith('encoder.') and not is_fine_tuned else ''
    encoder = _encoder(stem, has_positions=f'{prefix}pos_embed' in keys)
    layers = dict(encoder=(f'{stem}blocks.{{i}}', 'backbone.layers.{i}'))
    if is_fine_tuned:
        modules = dict(encoder=encoder, classifier=_CLASSIFIER)
    else:
        modules = dict(
            encoder=(*encoder, Module(f'{stem}norm', 'backbone.ln1', NORM)), decoder=_DECODER
        )
        layers['decoder'] = ('decoder.blocks.{i}', 'neck.decoder_blocks.{i}')
    return Table(modules, layers, _LAYER, prefix.removesuffix(stem))


def join_bias(query: Tensor, value: Tensor) -> Tensor:
    """Joins the biases of queries, keys (zeros) and values."""
    return torch.cat([query, torch.zeros_like(query), value])


def _encoder(stem: str, *, has_positions: bool) -> tuple[Module, ...]:
    patches = stem + _PATCHES
    embedding = Module(f'{stem}patch_embed.proj', 'backbone.patch_embed.projection', CONV_3D)
    if has_positions:  # learned
        return (embedding, *stored_positions(f'{stem}pos_embed', 'backbone.', patches))
    return (embedding, *computed_positions(patches))


def computed_positions(patches: str) -> tuple[Module, Module]:
    """Returns both tables of positions, which the weight `patches` of the patch embedding determines."""
    return (
        Module(None, 'backbone.pos_embed', TOKENS, _first_step, (patches,), _SINUSOID),
        Module(None, 'backbone.sinusoid_pos_embed', TOKENS, _later_steps, (patches,), _SINUSOID),
    )


def _first_step(projection: Tensor, embed: Tensor | None = None) -> Tensor:
    """Computes the positions of the first time step, in the width of the encoder or, given `embed`, of the decoder."""
    return first_step(sinusoid(projection, _width(projection, embed)), projection)


def _later_steps(projection: Tensor, embed: Tensor | None = None) -> Tensor:
    return later_steps(sinusoid(projection, _width(projection, embed)), projection)


def _width(projection: Tensor, embed: Tensor | None) -> int:
    return len(projection if embed is None else embed)


def _no_bias(embed: Tensor) -> Tensor:
    return embed.new_zeros(len(embed))


_EMBED = 'encoder_to_decoder.weight'
_WIDTHS = (f'encoder.{_PATCHES}', _EMBED)
_DECODER = (
    Module('mask_token', 'neck.mask_token', TOKENS),
    Module('encoder_to_decoder', 'neck.decoder_embed', WEIGHT),
    Module(None, 'neck.decoder_embed.bias', VECTOR, _no_bias, (_EMBED,), 'zeros'),
    Module(None, 'neck.decoder_pos_embed', TOKENS, _first_step, _WIDTHS, _SINUSOID),
    Module(None, 'neck.decoder_sinusoid_pos_embed', TOKENS, _later_steps, _WIDTHS, _SINUSOID),
    Module('decoder.norm', 'neck.decoder_norm', NORM),
    Module('decoder.head', 'neck.decoder_pred', LINEAR),
)
_CLASSIFIER = (
    Module('fc_norm', 'head.norm', NORM),
    Module('head', 'head.fc', LINEAR),
)
_LAYER = (
    Module('attn.qkv', 'attn.qkv', WEIGHT),
    Module(('attn.q_bias', 'attn.v_bias'), 'attn.qkv.bias', VECTOR, join_bias),
    *(module for module in mae.TABLE.layer if module.ours != 'attn.qkv'),
)
