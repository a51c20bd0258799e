# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reads checkpoints: tensors and plain values only, no code in a file is run."""

import hashlib
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.fileio import get_file_backend
from torch import Tensor
from torch.hub import download_url_to_file, get_dir

from vicmae.errors import CheckpointError, TornCheckpointError
from vicmae.utils.env_vars import TRUST_CHECKPOINT

HASH_SUFFIX = '.sha256'  # beside a checkpoint, as sha256sum writes it

_SAFETENSORS = '.safetensors'
_WHOLE: set[tuple[int, ...]] = set()  # files whose hash has been compared


class _Unread:
    """Stands for objects beside the weights, such as MMEngine's log history or MAE's arguments."""

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


def is_unread(value: Any) -> bool:
    """Whether a value stands for an object that was not read."""
    return isinstance(value, _Unread)


def require_checkpoint(path: str | Path) -> None:
    """Refuses a file that is missing, torn or no checkpoint, without reading all of it."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f'There is no checkpoint {str(path)!r}.')
    if path.suffix != _SAFETENSORS and not zipfile.is_zipfile(path):
        raise TornCheckpointError(
            f'{str(path)!r} is no PyTorch checkpoint, or a torn one ({path.stat().st_size} bytes). '
            "A run's last one is named in its `last_checkpoint` file."
        )


def require_whole(path: str | Path) -> None:
    """Refuses a checkpoint whose hash differs from the one in the file beside it, if there is one."""
    require_checkpoint(path)
    beside = Path(f'{path}{HASH_SUFFIX}')
    if not beside.is_file():
        return
    expected = beside.read_text(encoding='utf-8', errors='replace').partition(' ')[0].strip()
    identity = _identity(path)
    if identity in _WHOLE or len(expected) != 2 * hashlib.sha256().digest_size:
        return
    if hash_of(path) != expected:
        raise TornCheckpointError(
            f'{str(path)!r} is torn or was changed: its SHA-256 is not the one in {str(beside)!r}. Take the '
            'checkpoint before it, or delete the latter if you changed the file yourself.'
        )
    _WHOLE.add(identity)


def require_whole_together(path: str | Path) -> None:
    """`require_whole` on the first process for all; all processes have to call it."""
    verdict: list[Any] = [None]
    if is_main_process():
        try:
            require_whole(path)
        except CheckpointError as error:  # an error of one would leave the others waiting
            verdict = [error]
    broadcast_object_list(verdict)
    if verdict[0] is not None:
        raise verdict[0]
    require_checkpoint(path)
    _WHOLE.add(_identity(path))


def _identity(path: str | Path) -> tuple[int, ...]:
    """Changes whenever a file is written."""
    found = os.stat(path)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def hash_of(path: str | Path) -> str:
    """The SHA-256 of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def load_checkpoint_file(path: str | Path, map_location: Any = 'cpu') -> Any:
    """Reads all that a checkpoint holds: tensors and plain values.

    Other objects that are common in checkpoints are skipped (`is_unread`), unknown ones refused.
    """
    require_whole(path)
    if Path(path).suffix == _SAFETENSORS:
        return {'state_dict': _read_safetensors(path, map_location)}
    if os.environ.get(TRUST_CHECKPOINT) == '1':
        return torch.load(path, map_location=map_location, weights_only=False)
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            return torch.load(path, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, EOFError) as error:
        raise CheckpointError(
            f"Can't read the checkpoint {str(path)!r} as weights alone: {_refused_name(error)} "
            'If you know who made it and trust them, `--trust-checkpoint` lets it run what it brings along.'
        ) from error
    except RuntimeError as error:
        raise TornCheckpointError(
            f"Can't read the checkpoint {str(path)!r} as weights alone: {str(error).splitlines()[0]}"
        ) from error


def _refused_name(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if 'GLOBAL' in line] or [str(error)]
    return lines[-1].strip()


def _read_safetensors(path: str | Path, map_location: Any) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    device = map_location if isinstance(map_location, str | torch.device) else 'cpu'
    try:
        return load_file(path, device=str(device))
    except (SafetensorError, OSError) as error:
        raise TornCheckpointError(
            f"Can't read {str(path)!r} as safetensors: {error}. It is torn, or of another format."
        ) from error


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads a checkpoint's state dict, without the prefix `module.` of a DDP wrapper."""
    return read_checkpoint(path)[0]


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], list[str]]:
    """Reads a checkpoint's state dict and the names of what the file holds beside it."""
    return find_weights(load_checkpoint_file(path), repr(str(path)))


def find_weights(loaded: Any, where: str) -> tuple[dict[str, Tensor], list[str]]:
    """Finds the state dict in a checkpoint that is read, and the names of what is beside it."""
    state, rest = _find_state(loaded)
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f'The checkpoint {where} holds no state dict.')
    weights = {str(key).removeprefix('module.'): value for key, value in state.items()}
    if len(weights) < len(state):
        raise CheckpointError(
            f'The checkpoint {where} has keys both with and without the prefix `module.`: '
            f'{len(state)} keys, {len(weights)} names. Save the weights of one model alone.'
        )
    return weights, rest


def _find_state(loaded: Any) -> tuple[Any, list[str]]:
    if isinstance(loaded, dict):
        for name in _STATE_NAMES:
            # A single weight may have such a name, too.
            if name in loaded and not isinstance(loaded[name], Tensor):
                return loaded[name], [str(key) for key in loaded if key != name]
    return loaded, []


def load_checkpoint(name: str, map_location: Any = 'cpu') -> Any:
    """Reads all that a checkpoint holds, by path or URL. All processes of a run have to call it.

    Names in lists of models, whose files MMEngine would run, are refused.
    """
    scheme, colon, _ = name.partition('://')
    if not colon:
        path = os.path.expanduser(name)
        require_whole_together(path)
        return load_checkpoint_file(path, map_location)
    if scheme in ('http', 'https'):
        return load_checkpoint_file(_download(name), map_location)
    if scheme.rpartition(':')[2] in ('s3', 'petrel'):
        with get_file_backend(name).get_local_path(name) as local:
            return load_checkpoint_file(local, map_location)
    raise CheckpointError(
        f"{name!r} is a name in a list of models, which isn't looked up. Fetch the file, and give its path or URL."
    )


def _download(url: str) -> Path:
    """Fetches a file into this machine's cache."""
    # With the URL's hash: many runs have a file of the same name.
    name = f'{hashlib.sha256(url.encode()).hexdigest()[:16]}-{Path(urlparse(url).path).name}'
    cached = Path(get_dir(), 'checkpoints', name)
    for goes_first in (True, False):  # the others find it there, or are on another machine
        if is_main_process() is goes_first and not cached.is_file():
            cached.parent.mkdir(parents=True, exist_ok=True)
            download_url_to_file(url, str(cached), progress=goes_first)
        barrier()
    return cached
