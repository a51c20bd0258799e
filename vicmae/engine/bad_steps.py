# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The record of a step that was skipped, from which `vicmae.apis.replay` can run it alone.

`WORK_DIR/bad_steps/iter_N` has a `rank_R.json` of each rank, for the first steps of a row the weights; the config is
beside these folders. Iterations, epochs and batches count from 1 there, as in the log.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vicmae.checkpoints.write import write_text
from vicmae.datasets.loader import SteadyLoader
from vicmae.datasets.sample_key import SampleKey
from vicmae.utils.files import whole_file, why_unwritten

from .optimizers.guarded import GuardedOptimWrapper, StepCheck

FOLDER = 'bad_steps'
# The second one where the host looked only after further steps had moved the weights.
WEIGHTS, LATER_WEIGHTS = 'state.pth', 'later_state.pth'


@dataclass(frozen=True)
class SeenBatch:
    """A batch that went through the model; numbers count from 0.

    Attributes:
        iteration: When.
        epoch: Its epoch.
        number: Which of the epoch's batches it is.
        losses: What it gave, by name.
        loss_weights: Weights of losses that hooks move, by their place in the model.
        step_seed: What torch was seeded with for it; None where nothing did that.
    """

    iteration: int
    epoch: int
    number: int
    losses: dict[str, Tensor]
    loss_weights: dict[str, float]
    step_seed: int | None

    def described(self, loader: Any) -> dict[str, Any]:
        """The batch in plain values, with the samples that the loader knows."""
        steady = isinstance(loader, SteadyLoader)
        return dict(
            iteration=self.iteration + 1,
            epoch=self.epoch + 1,
            batch=self.number + 1,
            step_seed=self.step_seed,
            loss_weights=self.loss_weights,
            losses={name: str(value.item()) for name, value in self.losses.items()},
            samples=[
                dict(
                    key=list(key) if isinstance(key, SampleKey) else int(key),
                    file=loader.file_of(key),
                )
                for key in (loader.keys_of(self.epoch, self.number) if steady else ())
            ],
        )


@dataclass(frozen=True)
class SeenStep:
    """A step of the optimiser: the batches since the one before, and what was found of it."""

    batches: list[SeenBatch]
    check: StepCheck

    @property
    def iteration(self) -> int:
        """That of its last batch."""
        return self.batches[-1].iteration


def folder_of(runner: Any, step: SeenStep) -> Path:
    """Where the record of a step goes."""
    return Path(runner.work_dir) / FOLDER / f'iter_{step.iteration + 1}'


def named_losses(values: dict[str, Any]) -> dict[str, Tensor]:
    """The losses among what a model logs, without their sum."""
    losses = {name: value.detach() for name, value in values.items() if 'loss' in name}
    return {name: value for name, value in losses.items() if name != 'loss'} or losses


def write_record(
    runner: Any, step: SeenStep, *, weights: str | None, state: dict[str, Any] | None, **found: Any
) -> None:
    """Writes this rank's part.

    Args:
        runner: The Runner.
        step: The step.
        weights: The file with weights near it, relative to the record; None where there is none.
        state: What rank 0 writes as such, if anything.
        found: What is known besides: `grad_norm`, `bad_gradients`.
    """
    folder = folder_of(runner, step)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder.parent / f'config_{runner.timestamp}.py'
    row = dict(
        iteration=step.iteration + 1,
        rank=runner.rank,
        world_size=runner.world_size,
        seed=runner.seed,
        batches=[batch.described(runner.train_dataloader) for batch in step.batches],
        **found,
        weights=weights,
        config=f'../{config.name}',
        amp=_precision(runner.optim_wrapper),
        started_in=os.getcwd(),
    )
    write_text(folder / f'rank_{runner.rank}.json', json.dumps(row, indent=1) + '\n')
    if runner.rank != 0:
        return
    if not config.exists():  # once in a run: laying it out takes seconds
        runner.cfg.dump(config)
    if state is not None and weights is not None:
        try:
            with whole_file(folder / weights) as file:
                torch.save(state, file)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(why_unwritten(error)) from error


def _precision(wrapper: GuardedOptimWrapper) -> dict[str, Any] | None:
    dtype = getattr(wrapper, 'cast_dtype', None)
    name = str(dtype).removeprefix('torch.')
    return None if dtype is None else dict(dtype=name, loss_scale=wrapper.scale)
