# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reads tensors and plain values from checkpoints. Code in a file is not run."""

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

HASH_SUFFIX = '.sha256'  # of a file next to the checkpoint, in the format of sha256sum

_SAFETENSORS = '.safetensors'
_WHOLE: set[tuple[int, ...]] = set()  # files whose hash was verified


class _Unread:
    """Placeholder of an object that is not read, such as MMEngine's log history or MAE's arguments."""

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
        'pathlib._local.PosixPath',  # written by Python 3.13
        'pathlib._local.WindowsPath',
        'builtins.getattr',
        'numpy.ndarray',
        'numpy.dtype',
        'numpy.core.multiarray._reconstruct',  # written by NumPy 1
        'numpy.core.multiarray.scalar',
        'numpy._core.multiarray._reconstruct',
        'numpy._core.multiarray.scalar',
    )
]
# Keys of the weights in a checkpoint: MMEngine's; that of MAE, ViC-MAE and timm; DeepSpeed's; PySlowFast's.
_STATE_NAMES = ('state_dict', 'model', 'module', 'model_state')


def is_unread(value: Any) -> bool:
    """Returns whether a value stands in for an object that was not read."""
    return isinstance(value, _Unread)


def require_checkpoint(path: str | Path) -> None:
    """Refuses a file that is missing, truncated or not a checkpoint, without reading all of it."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f'The checkpoint {str(path)!r} does not exist.')
    if path.suffix != _SAFETENSORS and not zipfile.is_zipfile(path):
        raise TornCheckpointError(
            f'{str(path)!r} is not a PyTorch checkpoint, or is truncated ({path.stat().st_size} bytes). '
            'The file `last_checkpoint` of a work directory names its last checkpoint.'
        )


def require_whole(path: str | Path) -> None:
    """Refuses a checkpoint whose hash differs from that in the file next to it, if there is one."""
    require_checkpoint(path)
    hash_file = Path(f'{path}{HASH_SUFFIX}')
    if not hash_file.is_file():
        return
    expected = hash_file.read_text(encoding='utf-8', errors='replace').partition(' ')[0].strip()
    identity = _identity(path)
    if identity in _WHOLE or len(expected) != 2 * hashlib.sha256().digest_size:
        return
    if hash_of(path) != expected:
        raise TornCheckpointError(
            f'{str(path)!r} is corrupt or was changed: its SHA-256 differs from that in {str(hash_file)!r}. Use the '
            'previous checkpoint; or, if you changed the file yourself, delete the file with the hash.'
        )
    _WHOLE.add(identity)


def require_whole_together(path: str | Path) -> None:
    """Calls `require_whole` on the first process for all. All processes must call this."""
    verdict: list[Any] = [None]
    if is_main_process():
        try:
            require_whole(path)
        # Raised below by all: an error of one process alone would leave the others waiting.
        except CheckpointError as error:
            verdict = [error]
    broadcast_object_list(verdict)
    if verdict[0] is not None:
        raise verdict[0]
    require_checkpoint(path)
    _WHOLE.add(_identity(path))


def _identity(path: str | Path) -> tuple[int, ...]:
    """Returns values that change whenever a file is written."""
    status = os.stat(path)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def hash_of(path: str | Path) -> str:
    """Computes the SHA-256 of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def load_checkpoint_file(path: str | Path, map_location: Any = 'cpu') -> Any:
    """Reads the content of a checkpoint: tensors and plain values.

    Other objects that are common in checkpoints are skipped (`is_unread`), unknown ones are refused.
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
            f"Can't read the checkpoint {str(path)!r} without running code: {_refused_name(error)} "
            'If you trust its source, `--trust-checkpoint` runs the code in it.'
        ) from error
    except RuntimeError as error:
        raise TornCheckpointError(
            f"Can't read the checkpoint {str(path)!r} without running code: {str(error).splitlines()[0]}"
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
            f"Can't read {str(path)!r} as safetensors: {error}. It is truncated, or has another format."
        ) from error


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads a checkpoint's state dict, without the prefix `module.` of a DDP wrapper."""
    return read_checkpoint(path)[0]


def read_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], list[str]]:
    """Reads a checkpoint's state dict, and the names of its other entries."""
    return find_weights(load_checkpoint_file(path), repr(str(path)))


def find_weights(loaded: Any, source: str) -> tuple[dict[str, Tensor], list[str]]:
    """Finds the state dict in a loaded checkpoint, and the names of the other entries."""
    state, other_entries = _find_state(loaded)
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f'The checkpoint {source} has no state dict.')
    weights = {str(key).removeprefix('module.'): value for key, value in state.items()}
    if len(weights) < len(state):
        raise CheckpointError(
            f'The checkpoint {source} has keys both with and without the prefix `module.`: '
            f'{len(state)} keys, {len(weights)} names. Save the weights of one model only.'
        )
    return weights, other_entries


def _find_state(loaded: Any) -> tuple[Any, list[str]]:
    if isinstance(loaded, dict):
        for name in _STATE_NAMES:
            # A weight may also have such a name.
            if isinstance(loaded.get(name), dict):
                return loaded[name], [str(key) for key in loaded if key != name]
    return loaded, []


def load_checkpoint(name: str, map_location: Any = 'cpu') -> Any:
    """Reads the content of a checkpoint, by path or URL. All processes of a run must call this.

    Names of model zoos (such as `torchvision://resnet50`) are refused: MMEngine would run code in these files.
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
        f'{name!r} is a name in a model zoo, which is not supported. Download the file, and give its path or URL.'
    )


def _download(url: str) -> Path:
    """Downloads a file into this machine's cache."""
    # The URL's hash distinguishes files of one name.
    name = f'{hashlib.sha256(url.encode()).hexdigest()[:16]}-{Path(urlparse(url).path).name}'
    cached = Path(get_dir(), 'checkpoints', name)
    # Then the others: they find the file, or download it to another machine.
    for goes_first in (True, False):
        if is_main_process() is goes_first and not cached.is_file():
            cached.parent.mkdir(parents=True, exist_ok=True)
            download_url_to_file(url, str(cached), progress=goes_first)
        barrier()
    return cached
