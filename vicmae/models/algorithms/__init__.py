# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .vicmae import ViCMAE

__all__ = ['ViCMAE']
