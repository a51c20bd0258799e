# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Finds the last intact checkpoint of a run."""

import re
from pathlib import Path

from vicmae.errors import CheckpointError, TornCheckpointError
from vicmae.utils.log import warn

from .read import require_whole

LAST = 'last_checkpoint'
_MAX_TRIED = 20


def find_last_checkpoint(work_dir: str | Path) -> Path | None:
    """Finds the checkpoint to resume from: the last one that is intact, or None."""
    work_dir = Path(work_dir)
    candidates = _candidates(work_dir)
    for path in candidates[:_MAX_TRIED]:
        try:
            require_whole(path)
        except TornCheckpointError as error:
            warn(f'{error} Trying the previous checkpoint.')
        else:
            return path
    named = _named_last(work_dir)
    if candidates:
        warn(
            f'None of the {len(candidates)} checkpoints in {str(work_dir)!r} is intact: the run starts from the '
            'beginning.'
        )
    elif named is not None:
        raise CheckpointError(
            f'{str(work_dir / LAST)!r} names {str(named)!r}, which does not exist, and there is no other '
            'checkpoint. Restore it, or start again without `--resume`.'
        )
    return None


def _candidates(work_dir: Path) -> list[Path]:
    """Lists the checkpoint that `last_checkpoint` names, then the others of its folder, newest first."""
    named = _named_last(work_dir)
    folder = named.parent if named is not None and named.parent.is_dir() else work_dir
    kinds = {'epoch_#', 'iter_#', '' if named is None else _kind_of(named)}
    others = [path for path in folder.glob('*.pth') if _kind_of(path) in kinds]
    others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    if named is None:
        return others
    if not named.exists():
        warn(
            f'{str(work_dir / LAST)!r} names {str(named)!r}, which does not exist. Looking for another checkpoint.'
        )
        return others
    limit = named.stat().st_mtime_ns
    return [named, *(p for p in others if p != named and p.stat().st_mtime_ns <= limit)]


def _kind_of(path: Path) -> str:
    return re.sub(r'\d+', '#', path.stem)


def _named_last(work_dir: Path) -> Path | None:
    """Reads the path in `last_checkpoint`. A file of that name in this folder is preferred: it may be a copy."""
    file = work_dir / LAST
    text = file.read_text(encoding='utf-8', errors='replace') if file.is_file() else ''
    text = text.replace('\0', '').strip()
    if not text:
        return None
    moved = work_dir / Path(text).name
    # Joining keeps an absolute path as it is.
    return moved if moved.exists() else work_dir / text
