# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reading weights without running what a file brings along."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vicmae.errors import CheckpointError


class _Unread:
    """Stands for what a checkpoint holds beside weights (MMEngine's log history), so that it needn't be trusted."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_NUMPY = 'numpy._core.multiarray' if hasattr(np, '_core') else 'numpy.core.multiarray'
_STAND_INS: list[Any] = [
    (_Unread, name)
    for name in (
        'mmengine.logging.history_buffer.HistoryBuffer',
        'builtins.getattr',
        'numpy.ndarray',
        'numpy.dtype',
        f'{_NUMPY}._reconstruct',
        f'{_NUMPY}.scalar',
    )
]


def require_checkpoint(path: str | Path) -> None:
    """Refuses what is no checkpoint, before anything is built."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f'There is no checkpoint {str(path)!r}.')
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f'{str(path)!r} is no PyTorch checkpoint, or a torn one ({path.stat().st_size} bytes). '
            "A run's last one is named in its `last_checkpoint` file."
        )


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads a checkpoint's state dict, without the prefix that a DDP wrapper leaves.

    Nothing but tensors and plain values is built: no code in the file is run.
    """
    require_checkpoint(path)
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            loaded = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        lines = [line for line in str(error).splitlines() if 'GLOBAL' in line] or [str(error)]
        raise CheckpointError(
            f"Can't read the checkpoint {str(path)!r} as weights alone: {lines[-1].strip()}"
        ) from error
    state = loaded.get('state_dict', loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f'The checkpoint {str(path)!r} holds no state dict.')
    return {str(key).removeprefix('module.'): value for key, value in state.items()}
