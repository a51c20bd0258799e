# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .activation_checkpointing import checkpoint_layers
from .attention import attention_weights
from .inflation import INFLATIONS, deflate, fit_patch_embed, inflate
from .init_weights import init_linear_layers
from .patchify import Grid, PatchSize, as_clip, gather_tokens, patchify, unpatchify
from .pos_embed import (
    grid_of_table,
    resize_pos_embed,
    sincos_pos_embed,
    warn_of_resizing,
)
from .sync_batch_norm import SyncBatchNorm1d
from .time_pos_embed import (
    TIME_TABLES,
    check_pos_embed_type,
    fit_position_tables,
    grid_positions,
    resize_pos_embed_along_time,
    shape_time_table,
    space_table,
    take_time_table,
    time_table,
)

__all__ = [
    'INFLATIONS',
    'TIME_TABLES',
    'Grid',
    'PatchSize',
    'SyncBatchNorm1d',
    'as_clip',
    'attention_weights',
    'check_pos_embed_type',
    'checkpoint_layers',
    'deflate',
    'fit_patch_embed',
    'fit_position_tables',
    'gather_tokens',
    'grid_of_table',
    'grid_positions',
    'inflate',
    'init_linear_layers',
    'patchify',
    'resize_pos_embed',
    'resize_pos_embed_along_time',
    'shape_time_table',
    'sincos_pos_embed',
    'space_table',
    'take_time_table',
    'time_table',
    'unpatchify',
    'warn_of_resizing',
]
