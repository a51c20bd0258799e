# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .mae_decoder import MAEDecoder

__all__ = ['MAEDecoder']
