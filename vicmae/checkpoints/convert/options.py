# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Options of a config with which converted weights fit.

t h w the patch grid, D width.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vicmae.utils.vit import SIZES, TIME_TABLES

# By width and number of layers: `model_size`.
MODEL_SIZES = {(width, depth): name for name, (width, depth, _) in SIZES.items()}


def size_options(weights: Mapping[str, Tensor], decoder_heads: Mapping[int, int]) -> dict[str, Any]:
    """Reads the options from the shapes of vicmae's weights. Numbers of heads are those of the published models.

    Args:
        weights: Converted weights.
        decoder_heads: Number of heads by width of the decoder. 16 for other widths.
    """
    options: dict[str, Any] = {}
    projection = weights.get('backbone.patch_embed.projection.weight')
    if projection is not None:
        options |= _arch_options(weights, projection) | _input_options(weights, projection)
        if 'backbone.layers.0.attn.gamma1.weight' in weights:
            options['model.backbone.layer_scale_init_value'] = 1.0
        for name, value in clip_options(weights).items():
            options[f'model.backbone.{name}'] = value
    embed = weights.get('neck.decoder_embed.weight')
    if embed is not None:
        options['model.neck.embed_dim'] = len(embed)
        options['model.neck.depth'] = _count_layers(weights, 'neck.decoder_blocks')
        options['model.neck.num_heads'] = decoder_heads.get(len(embed), 16)
    if 'neck.decoder_cls_token' in weights:
        options['model.neck.own_cls_token'] = True
    classes = weights.get('head.fc.weight')
    if classes is not None:
        options['num_classes'] = len(classes)
    if 'head.norm.weight' in weights:
        options |= {'model.backbone.final_norm': False, 'model.head.norm': 'LN'}
    return options


def _arch_options(weights: Mapping[str, Tensor], projection: Tensor) -> dict[str, Any]:
    width, depth = len(projection), _count_layers(weights, 'backbone.layers')
    if (width, depth) in MODEL_SIZES:
        return {'model_size': MODEL_SIZES[width, depth]}
    hidden = weights.get('backbone.layers.0.ffn.layers.0.0.bias')
    num_heads = 16 if width >= 1024 else max(1, width // 64)
    arch = dict(embed_dims=width, num_layers=depth, num_heads=num_heads)
    arch['feedforward_channels'] = 4 * width if hidden is None else len(hidden)
    return {'model.backbone.arch': arch}


def _input_options(weights: Mapping[str, Tensor], projection: Tensor) -> dict[str, Any]:
    patch_size = projection.shape[-1]
    options: dict[str, Any] = dict(patch_size=patch_size)
    in_space = weights.get('backbone.pos_embed')  # (1, [1 +] h*w, D)
    if in_space is None:
        return options
    options['image_size'] = math.isqrt(_num_places(weights, 'backbone.')) * patch_size
    return options


def clip_options(weights: Mapping[str, Tensor], prefix: str = 'backbone.') -> dict[str, Any]:
    """Reads the options of a `MaskedViT` that its class token and time need, where they aren't the default.

    Args:
        weights: Weights of vicmae.
        prefix: Prefix of the backbone's keys.
    """
    options: dict[str, Any] = {}
    if f'{prefix}cls_token' not in weights:
        options['with_cls_token'] = False
    for pos_embed_type, name in TIME_TABLES.items():
        table = weights.get(f'{prefix}{name}')
        if table is None:
            continue
        if pos_embed_type != 'separable':
            options['pos_embed_type'] = pos_embed_type
        places = 1 if pos_embed_type == 'separable' else _num_places(weights, prefix)
        tubelet_size = weights[f'{prefix}patch_embed.projection.weight'].shape[2]
        options['tubelet_size'] = tubelet_size
        options['num_frames'] = table.shape[1] // places * tubelet_size
    return options


def _num_places(weights: Mapping[str, Tensor], prefix: str) -> int:
    has_cls_token = f'{prefix}cls_token' in weights
    return weights[f'{prefix}pos_embed'].shape[1] - has_cls_token  # (1, [1 +] h*w, D)


def _count_layers(weights: Mapping[str, Tensor], stem: str) -> int:
    numbers = [
        int(m[1]) for m in map(re.compile(rf'{re.escape(stem)}\.(\d+)\.').match, weights) if m
    ]
    return max(numbers, default=-1) + 1
