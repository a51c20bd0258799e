# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The record of a step that was skipped, from which `vicmae.apis.replay` can run it alone.

`WORK_DIR/bad_steps/iter_N` has a `rank_R.json` of each rank, for the first steps of a row the weights; the config is
beside these folders. Iterations, epochs and batches count from 1, as in the log.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vicmae.checkpoints.write import write_text
from vicmae.datasets.loader import SteadyLoader
from vicmae.datasets.sample_key import SampleKey
from vicmae.utils.files import whole_file, why_unwritten

# The second one where the host looked only after further steps had moved the weights.
WEIGHTS, LATER_WEIGHTS = 'state.pth', 'later_state.pth'
_MOST_NAMED = 6


def folder_of(runner: Any, batches: Sequence[dict[str, Any]]) -> Path:
    """Where the record of a step with these batches goes."""
    return Path(runner.work_dir) / 'bad_steps' / f'iter_{batches[-1]["iteration"]}'


def named_losses(values: dict[str, Any]) -> dict[str, Tensor]:
    """The losses among what a model logs, without their sum."""
    losses = {name: value.detach() for name, value in values.items() if 'loss' in name}
    return {name: value for name, value in losses.items() if name != 'loss'} or losses


def shortened(names: Sequence[str]) -> str:
    """The first of many names."""
    return ', '.join([*names[:_MOST_NAMED], *(['...'] if len(names) > _MOST_NAMED else [])])


def write_record(
    runner: Any, batches: Sequence[dict[str, Any]], state: dict[str, Any] | None, **found: Any
) -> None:
    """Writes this rank's part.

    Args:
        runner: The Runner.
        batches: Of the step: `iteration`, `epoch`, `batch`, `losses` (tensors by name), `loss_weights` (of those that
            hooks move, by their place in the model) and `step_seed` (None where nothing seeds steps).
        state: What rank 0 writes as `found['weights']`, if anything.
        found: What is known besides: `grad_norm`, `bad_gradients`, `weights` (a path relative to the record, or None).
    """
    folder = folder_of(runner, batches)
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
