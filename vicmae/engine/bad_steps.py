# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Counts of bad steps, and the record of one, which `vicmae.health.replay` can repeat.

`WORK_DIR/bad_steps/iter_N` has a `rank_R.json` of each rank and, for the first step of a row, the weights. The config
is beside these folders. Iterations, epochs and batches count from 1, as in the log.
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
# The second if the host saw the bad step only after later ones had moved the weights.
WEIGHTS, LATER_WEIGHTS = 'state.pth', 'later_state.pth'


class RewindDue(Exception):
    """Asks the loop to rewind. Arguments: the checkpoint; begin and end (excluded) of the iterations to skip."""


@dataclass
class GuardState:
    """Counts of bad steps, the same on all ranks. Iterations count from 0 here, as `runner.iter` does.

    Attributes:
        total: Bad steps of the run.
        in_a_row: Bad steps since the last good one.
        since: First iteration of this row.
        record: Folder of the record of its first step.
        weights: File with the weights of the row, relative to a record, if any.
        num_weights: Number of records with weights.
        checkpoint: The last checkpoint before the row, if any.
        rewinds: Number of rewinds so far.
        passed_over: Ranges of skipped iterations, half-open.
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
        """Returns the state of a run."""
        saved = runner.message_hub.runtime_info.get(_KEY, {})
        return cls(**{f.name: saved[f.name] for f in fields(cls) if f.name in saved})

    def keep(self, runner: Any) -> None:
        """Stores it in the run's message hub."""
        runner.message_hub.update_info(_KEY, asdict(self))

    def renumber(self, factor: float) -> None:
        """Multiplies iterations by a factor, after a change of the batch size."""
        self.passed_over = [
            [math.floor(first * factor), math.ceil(end * factor)] for first, end in self.passed_over
        ]
        self.since = int(self.since * factor)

    def passes_over(self, iteration: int) -> bool:
        """Returns whether an iteration is skipped."""
        return any(first <= iteration < end for first, end in self.passed_over)


def named_losses(values: dict[str, Any]) -> dict[str, Tensor]:
    """Returns the losses among logged values, without their sum."""
    losses = {name: value.detach() for name, value in values.items() if 'loss' in name}
    return {name: value for name, value in losses.items() if name != 'loss'} or losses


def write_record(
    runner: Any,
    folder: Path,
    batches: Sequence[dict[str, Any]],
    state: dict[str, Any] | None,
    **found: Any,
) -> None:
    """Writes this rank's part of a record."""
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
    if runner.rank != 0:
        return
    if not config.exists():  # once in a run: formatting it takes seconds
        runner.cfg.dump(config)
    if state is not None:
        try:
            with whole_file(folder / found['weights']) as file:
                torch.save(state, file)
        except RuntimeError as error:  # torch's error on a full disk
            raise OSError(why_unwritten(error)) from error


def _samples(batch: dict[str, Any], loader: SteadyLoader) -> list[dict[str, Any]]:
    return [
        dict(key=list(key) if isinstance(key, SampleKey) else int(key), file=loader.file_of(key))
        for key in loader.keys_of(batch['epoch'] - 1, batch['batch'] - 1)
    ]
