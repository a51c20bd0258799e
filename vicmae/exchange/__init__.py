# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .export import export_model
from .targets import TARGETS
from .verify import Finding, verify_export

__all__ = ['TARGETS', 'Finding', 'export_model', 'verify_export']
