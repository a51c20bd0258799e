# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Names in checkpoints of the official ViC-MAE code: MAE's, and those of a projector."""

from . import mae
from .mae import LINEAR, NORM, Kind, Module

_BATCH_NORM: Kind = {**NORM, '.running_mean': 1, '.running_var': 1, '.num_batches_tracked': 0}

MODULES: dict[str, tuple[Module, ...]] = {
    **mae.MODULES,
    'projector': (
        ('projector.0', 'projector.0', LINEAR),
        ('projector.1', 'projector.1', _BATCH_NORM),
        ('projector.3', 'projector.3', LINEAR),
        ('projector.4', 'projector.4', _BATCH_NORM),
        ('projector.6', 'projector.6', LINEAR),
    ),
}
