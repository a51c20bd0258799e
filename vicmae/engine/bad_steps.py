# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What a run counts of its bad steps, and the record of one, from which `vicmae.health.replay` can run it alone.

`WORK_DIR/bad_steps/iter_N` has a `rank_R.json` of each rank, for the first steps of a row the weights; the config is
beside these folders. Iterations, epochs and batches count from 1, as in the log.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vicmae.checkpoints.write import write_text
from vicmae.datasets.loader.steady import SteadyLoader
from vicmae.datasets.sample_key import SampleKey
from vicmae.utils.files import whole_file, why_unwritten

_KEY = 'step_guard'  # in the message hub, so that checkpoints hold it
# The second one where the host looked only after further steps had moved the weights.
WEIGHTS, LATER_WEIGHTS = 'state.pth', 'later_state.pth'


class RewindDue(Exception):
    """Ends a training step; its arguments are the checkpoint to go back to, and which iterations to pass over.

    These begin with the second argument, and end before the third.
    """


@dataclass
class GuardState:
    """Counts of bad steps, the same on all ranks. Iterations count from 0 here, as `runner.iter` does.

    Attributes:
        total: Bad steps of the run.
        in_a_row: Those since the last good step.
        since: The iteration in which the row began.
        record: Folder of the record of its first step.
        weights: File with the weights of the row, relative to a record; None where none has them.
        num_weights: Records with weights so far.
        checkpoint: The last one from before the row; None where there was none.
        rewinds: How often the run went back to a checkpoint.
        passed_over: Ranges of iterations, half-open, that train nothing.
    """

    total: int = 0
    in_a_row: int = 0
    since: int = 0
    record: str = ''
    weights: str | None = None
    num_weights: int = 0
    checkpoint: str | None = None
    rewinds: int = 0
    passed_over: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, runner: Any) -> 'GuardState':
        """That of a run."""
        saved = runner.message_hub.runtime_info.get(_KEY, {})
        return cls(**{f.name: saved[f.name] for f in fields(cls) if f.name in saved})

    def keep(self, runner: Any) -> None:
        """Makes it that of a run."""
        runner.message_hub.update_info(_KEY, asdict(self))

    def renumber(self, factor: float) -> None:
        """Takes iterations for others, so many times as many."""
        self.passed_over = [
            [math.floor(first * factor), math.ceil(end * factor)] for first, end in self.passed_over
        ]
        self.since = int(self.since * factor)

    def passes_over(self, iteration: int) -> bool:
        """Whether an iteration trains nothing."""
        return any(first <= iteration < end for first, end in self.passed_over)


def named_losses(values: dict[str, Any]) -> dict[str, Tensor]:
    """The losses among what a model logs, without their sum."""
    losses = {name: value.detach() for name, value in values.items() if 'loss' in name}
    return {name: value for name, value in losses.items() if name != 'loss'} or losses


def write_record(
    runner: Any,
    folder: Path,
    batches: Sequence[dict[str, Any]],
    state: dict[str, Any] | None,
    **found: Any,
) -> None:
    """Writes this rank's part."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder.parent / f'config_{runner.timestamp}.py'
    wrapper, loader = runner.optim_wrapper, runner.train_dataloader
    dtype = getattr(wrapper, 'cast_dtype', None)
    row = dict(
        iteration=batches[-1]['iteration'],
        rank=runner.rank,
        world_size=runner.world_size,
        seed=runner.seed,
        batches=[
            {
                **batch,
                'losses': {name: str(value.item()) for name, value in batch['losses'].items()},
                'samples': _samples(batch, loader) if isinstance(loader, SteadyLoader) else [],
            }
            for batch in batches
        ],
        **found,
        config=f'../{config.name}',
        amp=dtype and dict(dtype=str(dtype).removeprefix('torch.'), loss_scale=wrapper.scale),
        sharded_in=getattr(runner.model, 'mixed_precision', None),
        started_in=os.getcwd(),
    )
    write_text(folder / f'rank_{runner.rank}.json', json.dumps(row, indent=1) + '\n')
    if runner.rank == 0 and not config.exists():  # once in a run: laying it out takes seconds
        runner.cfg.dump(config)
    if runner.rank == 0 and state is not None:
        try:
            with whole_file(folder / found['weights']) as file:
                torch.save(state, file)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(why_unwritten(error)) from error


def _samples(batch: dict[str, Any], loader: SteadyLoader) -> list[dict[str, Any]]:
    return [
        dict(key=list(key) if isinstance(key, SampleKey) else int(key), file=loader.file_of(key))
        for key in loader.keys_of(batch['epoch'] - 1, batch['batch'] - 1)
    ]
