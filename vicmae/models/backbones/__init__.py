# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .vit import MaskedViT

__all__ = ['MaskedViT']
