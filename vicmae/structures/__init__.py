# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .batch import NO_LABEL, Batch, Clips, Mixed, Views, as_batch, as_one_kind, is_mixed
from .view_changes import FIELDS, STAGES, STEPS, UNCHANGED, as_vector

__all__ = [
    'FIELDS',
    'NO_LABEL',
    'STAGES',
    'STEPS',
    'UNCHANGED',
    'Batch',
    'Clips',
    'Mixed',
    'Views',
    'as_batch',
    'as_one_kind',
    'as_vector',
    'is_mixed',
]
