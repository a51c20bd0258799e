# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .channel_share import ChannelShareHead
from .mlp import MLPHead, apply_per_view
from .timed_predictor import TimedPredictor
from .transfer_head import TransferHead
from .vicmae_head import ViCMAEHead

__all__ = [
    'ChannelShareHead',
    'MLPHead',
    'TimedPredictor',
    'TransferHead',
    'ViCMAEHead',
    'apply_per_view',
]
