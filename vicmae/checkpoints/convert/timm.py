# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Names in files of timm's plain ViTs, and of DINOv2's code: those of MAE, with or without a class token and scales."""

from collections.abc import Collection

from . import mae
from .table import VECTOR, Module, Table

_SCALES = (
    Module('ls1.gamma', 'attn.gamma1.weight', VECTOR),
    Module('ls2.gamma', 'ffn.gamma2.weight', VECTOR),
)


def table_of(keys: Collection[str]) -> Table:
    """Returns the table of a file, by the names of its tensors."""
    has_scales = any(key.endswith('.ls1.gamma') for key in keys)
    encoder = tuple(
        module
        for module in mae.TABLE.modules['encoder']
        if module.theirs != 'cls_token' or 'cls_token' in keys
    )
    layers = dict(encoder=mae.TABLE.layers['encoder'])
    layer = (*mae.TABLE.layer, *_SCALES) if has_scales else mae.TABLE.layer
    return Table(dict(encoder=encoder), layers, layer)
