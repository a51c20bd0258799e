# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Writes checkpoints atomically, with tensors and plain values only."""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from vicmae.errors import CheckpointError
from vicmae.utils.files import whole_file, why_unwritten
from vicmae.utils.log import warn

from .read import HASH_SUFFIX, is_unread

_PLAIN = (str, bytes, bool, int, float, complex, type(None), torch.Size, torch.dtype, torch.device)


def write_checkpoint(path: str | Path, content: Any) -> None:
    """Writes a checkpoint and its hash. An older file is kept until the new one is complete."""
    path = Path(path)
    try:
        with whole_file(path) as file:
            hashing = _Hashing(file)
            torch.save(content, cast(BinaryIO, hashing))
            # With the old hash, the new file would count as corrupt. Without a hash, it counts as intact.
            Path(f'{path}{HASH_SUFFIX}').unlink(missing_ok=True)
        write_text(f'{path}{HASH_SUFFIX}', f'{hashing.digest.hexdigest()}  {path.name}\n')
    # The writer of PyTorch raises RuntimeError.
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"Can't write the checkpoint {str(path)!r}: {why_unwritten(error)}. Earlier checkpoints are unchanged."
        ) from error


def write_text(path: str | Path, text: str) -> None:
    """Writes a small file atomically."""
    with whole_file(path) as file:
        file.write(text.encode())


def remove_checkpoint(path: str | Path) -> None:
    """Deletes a checkpoint and its hash, if they exist."""
    for name in (f'{path}{HASH_SUFFIX}', str(path)):
        with suppress(OSError):
            os.unlink(name)


class _Hashing:
    """Writes to a file and hashes the content."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def as_plain(content: Any, where: str = '') -> Any:
    """Copies the content of a checkpoint as tensors on the CPU and plain values, which are safe to read.

    NumPy's numbers become Python's, its arrays become tensors, and log histories become dicts of tensors. Other
    objects are left out with a warning.
    """
    if isinstance(content, Tensor):
        tensor = content.detach()
        return tensor.clone() if tensor.device.type == 'cpu' else tensor.cpu()
    if isinstance(content, np.generic):
        return content.item()
    if isinstance(content, np.ndarray):
        return torch.from_numpy(content.copy())
    if isinstance(content, HistoryBuffer):
        values, counts = content.data
        return dict(
            history=torch.tensor(values), counts=torch.tensor(counts), longest=content.max_length
        )
    if isinstance(content, Mapping):
        items = ((key, as_plain(value, f'{where}.{key}')) for key, value in content.items())
        kept = [(key, value) for key, value in items if not isinstance(value, _LeftOut)]
        if not isinstance(content, OrderedDict):
            return dict(kept)
        ordered: Any = OrderedDict(kept)
        if hasattr(content, '_metadata'):  # versions of the modules
            ordered._metadata = as_plain(content._metadata, where)
        return ordered
    if isinstance(content, list | tuple | set | frozenset):
        values = [as_plain(value, f'{where}.{i}') for i, value in enumerate(content)]
        values = [value for value in values if not isinstance(value, _LeftOut)]
        return tuple(values) if isinstance(content, tuple) else values
    if isinstance(content, _PLAIN):
        return content
    warn(
        f'`{where.lstrip(".")}` is a {type(content).__name__}, which checkpoints cannot hold: it is left out.'
    )
    return _LeftOut()


class _LeftOut:
    """Placeholder of a value that is left out of a checkpoint."""


def restore_histories(checkpoint: dict[str, Any]) -> None:
    """Converts the dicts that `as_plain` made of log histories back to histories."""
    hub = checkpoint.get('message_hub')
    if not isinstance(hub, dict):
        return
    scalars = hub.get('log_scalars', {})
    for name, value in list(scalars.items()):
        if isinstance(value, dict) and 'history' in value:
            history, counts = (value[key].cpu().numpy() for key in ('history', 'counts'))
            scalars[name] = HistoryBuffer(history, counts, value['longest'])
        elif is_unread(value):  # of a checkpoint that MMEngine wrote
            del scalars[name]
            hub['resumed_keys'].pop(name, None)
