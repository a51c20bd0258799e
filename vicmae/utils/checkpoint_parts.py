# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checkpoints in parts: each process writes its share, and any process can put them together.

A folder `NAME.sharded/` has a `part_{rank}_of_{world}.pth` of each. A part is a dict of
- `save`, a text that all parts of one checkpoint share, and no others;
- `shards`, a list of a tensor's `path` in the checkpoint (a list of keys), the part's `rows` of it, the `first_row` of
  these, and the `shape` of the whole;
- `rest`, in the first part: the checkpoint itself, with None in the place of these tensors.
Nothing in it needs more than `torch.load(weights_only=True)`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vicmae.checkpoints.read import load_checkpoint_file, require_whole
from vicmae.checkpoints.write import write_checkpoint
from vicmae.errors import CheckpointError, TornCheckpointError

PART = re.compile(r'part_(\d+)_of_(\d+)\.pth')


def require_parts(folder: str | Path) -> None:
    """Refuses a sharded checkpoint of which a part is missing, torn, or of another checkpoint."""
    parts = find_parts(Path(folder))
    for path in parts:
        require_whole(path)
    _require_one_save(Path(folder), [load_checkpoint_file(path, mmap=True) for path in parts])


def gather_parts(folder: str | Path) -> dict[str, Any]:
    """Puts a checkpoint together from its parts: that of a run whose model isn't divided.

    One process is enough, and reads the parts' tensors as it needs them.

    Args:
        folder: What `save_parts` wrote.
    """
    folder = Path(folder)
    parts = [load_checkpoint_file(path, mmap=True) for path in find_parts(folder)]
    _require_one_save(folder, parts)
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
    return checkpoint


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
    output.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(output, gather_parts(folder))


def _require_one_save(folder: Path, parts: Sequence[dict[str, Any]]) -> None:
    if len({part['save'] for part in parts}) > 1:
        raise TornCheckpointError(
            f'{str(folder)!r} has parts of different checkpoints: a run was killed while it wrote over an older one. '
            'Use an earlier checkpoint.'
        )


def find_parts(folder: Path) -> list[Path]:
    """The parts of a folder in the order of ranks; refuses one where any is missing."""
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    found = [match for match in map(PART.fullmatch, names) if match]
    worlds = sorted({int(match[2]) for match in found})
    if not worlds:
        raise TornCheckpointError(
            f'{str(folder)!r} is no sharded checkpoint: there is no part_0_of_WORLD.pth in it.'
        )
    if len(worlds) > 1:
        raise TornCheckpointError(
            f'{str(folder)!r} has parts of runs of {" and of ".join(map(str, worlds))} processes: a run was killed '
            'while it wrote over an older checkpoint. Use an earlier one.'
        )
    (world_size,) = worlds
    expected = [f'part_{rank}_of_{world_size}.pth' for rank in range(world_size)]
    missing = [name for name in expected if name not in names]
    if missing:
        raise TornCheckpointError(
            f'{str(folder)!r} lacks {", ".join(missing)}: a run was killed while it wrote the checkpoint, or not all '
            'parts were copied. Copy them, or use an earlier checkpoint.'
        )
    return [folder / name for name in expected]


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
