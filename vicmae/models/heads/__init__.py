# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .mlp import MLPHead, apply_per_view
from .transfer_head import TransferHead
from .vicmae_head import ViCMAEHead

__all__ = ['MLPHead', 'TransferHead', 'ViCMAEHead', 'apply_per_view']
