# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Keeps a new run out of the work directory of another one."""

import os
import sys
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path

from vicmae.errors import ConfigError

_CHECKPOINTS = ('last_checkpoint', 'epoch_*.pth', 'iter_*.pth', 'best_*.pth')
_CURVES = '*/vis_data/scalars.json'
_RANKS = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


def find_run(work_dir: str | Path) -> Path | None:
    """Finds a checkpoint or the curves of training in a folder; None if no run has left any there."""
    curves = (path for path in Path(work_dir).glob(_CURVES) if _has_losses(path))
    return find_checkpoint(work_dir) or next(curves, None)


def find_checkpoint(work_dir: str | Path) -> Path | None:
    """Finds `last_checkpoint` or any checkpoint in a folder."""
    found = (path for pattern in _CHECKPOINTS for path in Path(work_dir).glob(pattern))
    return next(found, None)


def claim_work_dir(work_dir: str, *, overwrite: bool, resumes: bool, launcher: str) -> None:
    """Refuses the folder of another run, or moves it aside. Only the first rank looks.

    Args:
        work_dir: The work directory of the run that is about to start.
        overwrite: Whether to move an earlier run aside.
        resumes: Whether this run continues the one in the folder, also because a launcher has started it again.
        launcher: What started the processes.
    """
    if os.environ.get(_RANKS.get(launcher, ''), '0') != '0':
        return
    restarted = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') != '0'
    # torchrun starts a refused run again, too, and that restart would resume what was refused.
    refused = Path(tempfile.gettempdir(), f'vicmae-refused-{os.getuid()}-{os.getppid()}')
    if resumes and not (restarted and refused.exists()):
        return
    with suppress(FileNotFoundError):
        refused.unlink()
    found = find_run(work_dir)
    if found is None:
        return
    if overwrite:
        move_aside(Path(work_dir))
        return
    if launcher == 'pytorch':
        refused.touch()
    raise ConfigError(
        f'The work directory {str(work_dir)!r} holds a run ({str(found.relative_to(work_dir))!r}). Continue it with '
        '`--resume`, move it aside with `--overwrite`, or name another folder with `--work-dir`.'
    )


def move_aside(folder: Path) -> None:
    """Renames a folder to the first name `FOLDER.old-N` that is free."""
    folder = folder.absolute()
    names = (folder.with_name(f'{folder.name}.old-{number}') for number in count(1))
    target = next(name for name in names if not name.exists())
    try:
        folder.rename(target)
    except OSError as error:
        raise ConfigError(
            f"Can't move the run in {str(folder)!r} to {str(target)!r}: {error.strerror}. Name another folder with "
            '`--work-dir`.'
        ) from error
    print(f'The earlier run was moved to {str(target)!r}.', file=sys.stderr)


def _has_losses(scalars: Path) -> bool:
    """Whether training has logged a step; a test logs metrics alone."""
    with open(scalars, encoding='utf-8', errors='replace') as lines:
        return any('"loss"' in line for line in lines)
