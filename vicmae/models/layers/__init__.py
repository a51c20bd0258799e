# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .init_weights import init_linear_layers
from .patchify import as_clip, gather_tokens, patchify, unpatchify
from .pos_embed import sincos_pos_embed

__all__ = [
    'as_clip',
    'gather_tokens',
    'init_linear_layers',
    'patchify',
    'sincos_pos_embed',
    'unpatchify',
]
