# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .fully_shard import FullyShard

__all__ = ['FullyShard']
