# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .shared import SharedTarget

__all__ = ['SharedTarget']
