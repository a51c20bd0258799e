# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from .batch import NO_LABEL, Batch, Clips, Views, as_batch
from .view_changes import FIELDS, STAGES, STEPS, UNCHANGED, as_vector

__all__ = [
    'FIELDS',
    'NO_LABEL',
    'STAGES',
    'STEPS',
    'UNCHANGED',
    'Batch',
    'Clips',
    'Views',
    'as_batch',
    'as_vector',
]
