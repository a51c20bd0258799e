# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .patchify import as_clip, gather_tokens, patchify, unpatchify
from .pos_embed import sincos_pos_embed

__all__ = ['as_clip', 'gather_tokens', 'patchify', 'sincos_pos_embed', 'unpatchify']
