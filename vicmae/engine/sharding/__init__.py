# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .fully_shard import FullyShard
from .state import (
    collect_state,
    cut_moments_on_loading,
    full_states,
    is_divided,
    spread_state,
)

__all__ = [
    'FullyShard',
    'collect_state',
    'cut_moments_on_loading',
    'full_states',
    'is_divided',
    'spread_state',
]
