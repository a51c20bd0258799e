# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Writes checkpoints in parts, as `vicmae.utils.checkpoint_parts` describes and reads them."""

import secrets
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from vicmae.checkpoints.write import as_plain, remove_checkpoint, write_checkpoint
from vicmae.errors import CheckpointError
from vicmae.utils.checkpoint_parts import PART
from vicmae.utils.distributed import rank_and_world_size

from .state import first_row, map_tensors


def save_parts(folder: str | Path, checkpoint: dict[str, Any]) -> None:
    """Writes this process's part of a checkpoint; all processes have to call it.

    All parts are there when this returns. Where one can't be written, all processes raise.

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
        part['rest'] = as_plain(rest)
    _raise_together(_write(folder / f'part_{rank}_of_{world_size}.pth', part))
    if rank == 0:
        for other in folder.glob('part_*.pth'):
            found = PART.fullmatch(other.name)
            if found and int(found[2]) != world_size:  # of an older checkpoint
                remove_checkpoint(other)


def _take_shard(value: Tensor, path: list[Any], shards: list[dict[str, Any]]) -> Tensor | None:
    """Puts this process's rows of a divided tensor to `shards`; any other stays where it is."""
    if not isinstance(value, DTensor):
        return value.detach().cpu()
    rows = value.to_local().detach().cpu().clone()  # alone, not as a view of a longer storage
    shards.append(dict(path=path, rows=rows, first_row=first_row(value), shape=list(value.shape)))
    return None


def _write(path: Path, part: dict[str, Any]) -> str:
    """Writes a part, and returns what went wrong."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(path, part)
    except OSError as error:
        return f"Can't make the folder {str(path.parent)!r}: {error.strerror}."
    except CheckpointError as error:
        return str(error)
    return ''


def _raise_together(fault: str) -> None:
    """Raises on all processes where one of them has a fault, so that none waits for it."""
    faults = [fault]
    if rank_and_world_size()[1] > 1:
        faults *= rank_and_world_size()[1]
        dist.all_gather_object(faults, fault)
    found = next(filter(None, faults), '')
    if found:
        raise CheckpointError(found)
