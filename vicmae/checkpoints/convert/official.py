# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Names in checkpoints of the official ViC-MAE code: MAE's, and those of a projector."""

from . import mae
from .table import LINEAR, NORM, Kind, Module

_BATCH_NORM: Kind = {**NORM, '.running_mean': 1, '.running_var': 1, '.num_batches_tracked': 0}

TABLE = mae.TABLE._replace(
    modules={
        **mae.TABLE.modules,
        'projector': (
            Module('projector.0', 'projector.0', LINEAR),
            Module('projector.1', 'projector.1', _BATCH_NORM),
            Module('projector.3', 'projector.3', LINEAR),
            Module('projector.4', 'projector.4', _BATCH_NORM),
            Module('projector.6', 'projector.6', LINEAR),
        ),
    }
)
