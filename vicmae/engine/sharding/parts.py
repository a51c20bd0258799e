# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checkpoints in parts: each process writes its share, and any process can put them together.

A folder `NAME.sharded/` has a `part_{rank}_of_{world}.pth` of each. A part is a dict of
- `save`, a text that all parts of one checkpoint share, and no others;
- `shards`, a list of a tensor's `path` in the checkpoint (a list of keys), the part's `rows` of it, the `first_row` of
  these, and the `shape` of the whole;
- `rest`, in the first part: the checkpoint itself, with None in the place of these tensors.
Nothing in it needs more than `torch.load(weights_only=True)`.
"""

import contextlib
import os
import pickle
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from vicmae.errors import CheckpointError
from vicmae.utils.distributed import rank_and_world_size

from .plain import from_plain, to_plain
from .state import first_row, map_tensors

_PART = re.compile(r'part_(\d+)_of_(\d+)\.pth')


def save_parts(folder: str | Path, checkpoint: dict[str, Any]) -> None:
    """Writes this process's part of a checkpoint; all processes have to call it.

    A part takes the place of an older one only when it is on the disk whole. All parts are there when this returns.

    Args:
        folder: Where to, one that all processes see; it is made.
        checkpoint: What to write, with divided tensors as `state_dict()` of a divided model and its optimiser has
            them, in the same places on all processes. Of the rest, the first process's is written.
    """
    rank, world_size = rank_and_world_size()
    folder = Path(folder)
    save = [secrets.token_hex(8)]
    if world_size > 1:
        dist.broadcast_object_list(save)
    shards: list[dict[str, Any]] = []
    rest = map_tensors(checkpoint, lambda value, path: _take_shard(value, path, shards))
    part = dict(save=save[0], shards=shards)
    if rank == 0:
        part['rest'] = to_plain(rest)
    _write(part, folder / f'part_{rank}_of_{world_size}.pth')
    if world_size > 1:
        dist.barrier()
    if rank == 0:
        for other in folder.iterdir():
            found = _PART.fullmatch(other.name)
            if found and int(found[2]) != world_size:  # of an older checkpoint
                other.unlink()


def gather_parts(folder: str | Path) -> dict[str, Any]:
    """Puts a checkpoint together from its parts: that of a run whose model isn't divided.

    One process is enough, and reads the parts' tensors as it needs them.

    Args:
        folder: What `save_parts` wrote.
    """
    folder = Path(folder)
    parts = [_read(path) for path in _find_parts(folder)]
    if len({part['save'] for part in parts}) > 1:
        raise CheckpointError(
            f'{str(folder)!r} has parts of different checkpoints: a run was killed while it wrote over an older one. '
            'Use an earlier checkpoint.'
        )
    checkpoint = parts[0]['rest']
    paths, *others = ([shard['path'] for shard in part['shards']] for part in parts)
    if any(other != paths for other in others):
        raise CheckpointError(
            f"The parts in {str(folder)!r} don't fit together: they are of different tensors. "
            'Use an earlier checkpoint.'
        )
    for pieces in zip(*(part['shards'] for part in parts), strict=True):
        *parents, key = pieces[0]['path']
        node = checkpoint
        for parent in parents:
            node = node[parent]
        node[key] = _join(folder, pieces)
    return from_plain(checkpoint)


def gather_to_file(folder: str | Path, output: str | Path, *, force: bool = False) -> None:
    """Writes what `gather_parts` gives as a checkpoint of one file, whole or not at all.

    Args:
        folder: What `save_parts` wrote.
        output: The file.
        force: Whether to write over one that is there.
    """
    output = Path(output)
    if output.is_dir() or (output.exists() and not force):
        raise CheckpointError(
            f"Can't write {str(output)!r}: it is there already. Choose another place, or write over a file with "
            '--force.'
        )
    _write(gather_parts(folder), output)


def _take_shard(value: Tensor, path: list[Any], shards: list[dict[str, Any]]) -> Tensor | None:
    """Puts this process's rows of a divided tensor to `shards`; any other stays where it is."""
    if not isinstance(value, DTensor):
        return value.detach().cpu()
    rows = value.to_local().detach().cpu().clone()  # alone, not as a view of a longer storage
    shards.append(dict(path=path, rows=rows, first_row=first_row(value), shape=list(value.shape)))
    return None


def _write(content: dict[str, Any], path: Path) -> None:
    """Writes a file beside its place, and moves it there when it is on the disk."""
    unfinished = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open('wb') as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:  # PyTorch's own writer raises the latter
        reason = getattr(error, 'strerror', None) or str(error).splitlines()[0]
        raise CheckpointError(
            f"Can't write {str(path)!r}: {reason}. Make room, or choose another place."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _find_parts(folder: Path) -> list[Path]:
    """The parts of a folder in the order of ranks; refuses one where any is missing."""
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    found = [match for match in map(_PART.fullmatch, names) if match]
    worlds = sorted({int(match[2]) for match in found})
    if not worlds:
        raise CheckpointError(
            f'{str(folder)!r} is no sharded checkpoint: there is no part_0_of_WORLD.pth in it.'
        )
    if len(worlds) > 1:
        raise CheckpointError(
            f'{str(folder)!r} has parts of runs of {" and of ".join(map(str, worlds))} processes: a run was killed '
            'while it wrote over an older checkpoint. Use an earlier one.'
        )
    (world_size,) = worlds
    expected = [f'part_{rank}_of_{world_size}.pth' for rank in range(world_size)]
    missing = [name for name in expected if name not in names]
    if missing:
        raise CheckpointError(
            f'{str(folder)!r} lacks {", ".join(missing)}: a run was killed while it wrote the checkpoint, or not all '
            'parts were copied. Copy them, or use an earlier checkpoint.'
        )
    return [folder / name for name in expected]


def _read(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(
            f"Can't read {str(path)!r}, a part of a checkpoint: {str(error).splitlines()[0]} "
            'Copy it anew, or use an earlier checkpoint.'
        ) from error


def _join(folder: Path, pieces: Sequence[dict[str, Any]]) -> Tensor:
    """A whole tensor from the rows that the parts have of it."""
    path, shape = pieces[0]['path'], pieces[0]['shape']
    joined = torch.cat([piece['rows'] for piece in pieces])
    begins = [0]
    for piece in pieces[:-1]:
        begins.append(begins[-1] + len(piece['rows']))
    fit = all(
        piece['shape'] == shape and begin == piece['first_row']
        for piece, begin in zip(pieces, begins, strict=True)
    )
    if not fit or list(joined.shape) != shape:
        raise CheckpointError(
            f"The parts in {str(folder)!r} don't fit together at `{'.'.join(map(str, path))}`: rows "
            f'{[len(piece["rows"]) for piece in pieces]} of a tensor of shape {shape}. Use an earlier checkpoint.'
        )
    return joined
