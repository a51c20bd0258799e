# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from vicmae.checkpoints.state import collect_state

from .fully_shard import FullyShard

__all__ = ['FullyShard', 'collect_state']
