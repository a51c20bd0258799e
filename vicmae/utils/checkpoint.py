# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reading weights without running what a file brings along."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vicmae.errors import CheckpointError

LAST_CHECKPOINT = 'last_checkpoint'  # the file in a work directory that names it


class _Unread:
    """Stands for what a checkpoint holds beside weights, so that it needn't be trusted.

    MMEngine's have a log history, those of MAE and ViC-MAE the arguments that they were trained with.
    """

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_STAND_INS: list[Any] = [
    (_Unread, name)
    for name in (
        'mmengine.logging.history_buffer.HistoryBuffer',
        'argparse.Namespace',
        'pathlib.PosixPath',
        'pathlib.WindowsPath',
        'pathlib._local.PosixPath',  # as Python 3.13 writes them
        'pathlib._local.WindowsPath',
        'builtins.getattr',
        'numpy.ndarray',
        'numpy.dtype',
        'numpy.core.multiarray._reconstruct',  # as NumPy 1 writes them
        'numpy.core.multiarray.scalar',
        'numpy._core.multiarray._reconstruct',
        'numpy._core.multiarray.scalar',
    )
]
# Where weights lie in a checkpoint: MMEngine's name, and that of MAE, ViC-MAE and timm.
_STATE_NAMES = ('state_dict', 'model')


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


def last_checkpoint(work_dir: str | Path) -> str | None:
    """The last checkpoint that a run has written; None where there is none yet."""
    file = Path(work_dir, LAST_CHECKPOINT)
    if not file.is_file():
        return None
    named = file.read_text(encoding='utf-8').strip()
    if not named:
        raise CheckpointError(
            f'{str(file)!r} is empty: the run was killed while it wrote a checkpoint. '
            'Name an earlier one: `--resume WORK_DIR/epoch_N.pth`.'
        )
    return named


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads a checkpoint's state dict, without the prefix that a DDP wrapper leaves.

    Nothing but tensors and plain values is built: no code in the file is run.
    """
    return read_checkpoint(path)[0]


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], list[str]]:
    """Reads what `read_weights` does, and names what the file holds beside the weights."""
    require_checkpoint(path)
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            loaded = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        lines = [line for line in str(error).splitlines() if 'GLOBAL' in line] or [str(error)]
        raise CheckpointError(
            f"Can't read the checkpoint {str(path)!r} as weights alone: {lines[-1].strip()}"
        ) from error
    state, rest = _find_state(loaded)
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f'The checkpoint {str(path)!r} holds no state dict.')
    weights = {str(key).removeprefix('module.'): value for key, value in state.items()}
    if len(weights) < len(state):
        raise CheckpointError(
            f'The checkpoint {str(path)!r} has keys both with and without the prefix `module.`: '
            f'{len(state)} keys, {len(weights)} names. Save the weights of one model alone.'
        )
    return weights, rest


def _find_state(loaded: Any) -> tuple[Any, list[str]]:
    """The weights, where they are named or alone in the file, and the names beside them."""
    if isinstance(loaded, dict):
        for name in _STATE_NAMES:
            # A single weight may have such a name, too.
            if name in loaded and not isinstance(loaded[name], Tensor):
                return loaded[name], [str(key) for key in loaded if key != name]
    return loaded, []
