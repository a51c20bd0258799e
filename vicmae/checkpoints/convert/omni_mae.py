# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Names in checkpoints of OmniMAE's code, https://github.com/facebookresearch/omnivore/tree/main/omnimae.

There, mask tokens and positions are added before the layer that changes to the width of the decoder. In vicmae they are
added after it. As this layer is linear, its outputs for them are stored. The attention of the released decoders has no
bias for queries, keys and values.
"""

import re
from collections.abc import Collection

from torch import Tensor

from . import mae
from .positions import first_step, later_steps, stored_positions
from .table import CONV_3D, LINEAR, NORM, TOKENS, VECTOR, Kind, Module, Table, prefix_before

_PATCHES = 'trunk.patch_embed.proj.1.weight'
_DECODER_QKV = r'trunk\.decoder\.decoder_blocks\.(\d+)\.attn\.qkv'
_ROW: Kind = {'': 2}


def table_of(keys: Collection[str]) -> Table:
    """Returns the table of a file: of pretraining or, if it has a classifier and no decoder, of fine-tuning."""
    prefix = prefix_before(_PATCHES, keys)
    # `head`, or in a container: `heads.0`.
    heads = [key.removeprefix(prefix) for key in keys if key.startswith(f'{prefix}head')]
    head = next((key.removesuffix('.weight') for key in heads if key.endswith('.weight')), 'head')
    layers = dict(encoder=('trunk.blocks.{i}', 'backbone.layers.{i}'))
    if heads and not any(key.startswith(f'{prefix}trunk.decoder.') for key in keys):
        # Normalised after the mean over patches, where pretraining normalises each patch.
        norm = Module('trunk.norm', 'head.norm', NORM)
        modules = dict(encoder=_ENCODER, classifier=(norm, Module(head, 'head.fc', LINEAR)))
        return Table(modules, layers, mae.TABLE.layer, prefix)
    modules = dict(
        encoder=(*_ENCODER, Module('trunk.norm', 'backbone.ln1', NORM)),
        decoder=(
            *_DECODER,
            *_absent_biases(prefix, keys),
            Module(head, 'neck.decoder_pred', LINEAR),
        ),
    )
    layers |= dict(decoder=('trunk.decoder.decoder_blocks.{i}', 'neck.decoder_blocks.{i}'))
    return Table(modules, layers, mae.TABLE.layer, prefix)


def _absent_biases(prefix: str, keys: Collection[str]) -> list[Module]:
    """Lists biases of queries, keys and values of the decoder that the file lacks, as those of the released models."""
    found = (re.fullmatch(rf'{re.escape(prefix)}({_DECODER_QKV})\.weight', key) for key in keys)
    layers = {match[1]: match[2] for match in found if match}
    return [
        Module(
            theirs=None,
            ours=f'neck.decoder_blocks.{i}.attn.qkv.bias',
            kind=VECTOR,
            make=_zero_bias,
            inputs=(f'{layer}.weight',),
            note='zeros',
        )
        for layer, i in layers.items()
        if f'{prefix}{layer}.bias' not in keys
    ]


def _zero_bias(weight: Tensor) -> Tensor:
    return weight.new_zeros(len(weight))


def _embedded_mask(token: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Embeds a mask token in the decoder: (1, D) -> (1, 1, E)."""
    return (token @ weight.T + bias)[None]


def _first_embedded_step(table: Tensor, projection: Tensor, weight: Tensor) -> Tensor:
    return first_step(table, projection) @ weight.T


def _later_embedded_steps(table: Tensor, projection: Tensor, weight: Tensor) -> Tensor:
    return later_steps(table, projection) @ weight.T


_ENCODER = (
    *stored_positions('trunk.pos_embed', 'backbone.', _PATCHES),
    Module('trunk.patch_embed.proj.1', 'backbone.patch_embed.projection', CONV_3D),
)
_POSITIONS = 'trunk.decoder.pos_embed'
_EMBED = 'trunk.decoder.decoder_embed'
_DECODER = (
    Module(
        'trunk.mask_token',
        'neck.mask_token',
        _ROW,
        _embedded_mask,
        (f'{_EMBED}.weight', f'{_EMBED}.bias'),
    ),
    Module(
        _POSITIONS,
        'neck.decoder_pos_embed',
        TOKENS,
        _first_embedded_step,
        (_PATCHES, f'{_EMBED}.weight'),
    ),
    Module(
        None,
        'neck.decoder_sinusoid_pos_embed',
        TOKENS,
        _later_embedded_steps,
        (_POSITIONS, _PATCHES, f'{_EMBED}.weight'),
        f'from `{_POSITIONS}`',
    ),
    Module(_EMBED, 'neck.decoder_embed', LINEAR),
    Module('trunk.decoder.norm', 'neck.decoder_norm', NORM),
)
