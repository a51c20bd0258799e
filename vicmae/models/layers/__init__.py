# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .activation_checkpointing import checkpoint_layers
from .init_weights import init_linear_layers
from .patchify import Grid, as_clip, gather_tokens, patchify, unpatchify
from .pos_embed import fit_pos_embed, resize_pos_embed, sincos_pos_embed, warn_of_resizing
from .sync_batch_norm import SyncBatchNorm1d

__all__ = [
    'Grid',
    'SyncBatchNorm1d',
    'as_clip',
    'checkpoint_layers',
    'fit_pos_embed',
    'gather_tokens',
    'init_linear_layers',
    'patchify',
    'resize_pos_embed',
    'sincos_pos_embed',
    'unpatchify',
    'warn_of_resizing',
]
