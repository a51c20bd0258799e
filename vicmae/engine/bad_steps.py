# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What is written down of a step that was skipped, so that `vicmae.apis.replay` can run it alone.

`WORK_DIR/bad_steps/iter_N` has a `rank_R.json` of each rank, for the first steps of a row the weights; the config is
beside these folders. Iterations, epochs and batches count from 1 there, as in the log.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper
from torch import Tensor

from vicmae.checkpoints.write import write_text
from vicmae.datasets.loader import SteadyLoader
from vicmae.datasets.sample_key import SampleKey
from vicmae.engine.optimizers.bfloat16 import BFloat16OptimWrapper
from vicmae.utils.files import whole_file, why_unwritten

FOLDER = 'bad_steps'
WEIGHTS = 'state.pth'


@dataclass(frozen=True)
class SeenBatch:
    """A batch that went through the model since the optimiser's last step; numbers count from 0.

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

    def bad_losses(self) -> dict[str, str]:
        """Those that are not finite, as text."""
        return {
            name: str(value.item())
            for name, value in self.losses.items()
            if not math.isfinite(value.item())
        }


def folder_of(runner: Any, iteration: int) -> Path:
    """Where the record of a step goes; the iteration counts from 0."""
    return Path(runner.work_dir) / FOLDER / f'iter_{iteration + 1}'


def write_record(
    runner: Any,
    batches: Sequence[SeenBatch],
    *,
    grad_norm: float,
    bad_gradients: Sequence[str],
    weights_in: int | None,
    weights: dict[str, Tensor] | None,
) -> None:
    """Writes this rank's part.

    Args:
        runner: The Runner.
        batches: What went through the model since the optimiser's last step.
        grad_norm: Norm of all gradients.
        bad_gradients: Parameters whose gradient is not finite.
        weights_in: The iteration whose record has the weights; None where none does.
        weights: What rank 0 writes as such, if anything.
    """
    folder = folder_of(runner, runner.iter)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder.parent / f'config_{runner.timestamp}.py'
    place = None if weights_in is None else f'../{folder_of(runner, weights_in).name}/{WEIGHTS}'
    row = dict(
        iteration=runner.iter + 1,
        epoch=runner.epoch + 1,
        batch=batches[-1].number + 1 if batches else None,
        rank=runner.rank,
        world_size=runner.world_size,
        batch_size=getattr(runner.train_dataloader, 'batch_size', None),
        seed=runner.seed,
        batches=[_describe(runner, batch) for batch in batches],
        grad_norm=str(grad_norm),
        bad_gradients=list(bad_gradients),
        weights=place,
        config=f'../{config.name}',
        amp=_precision(runner.optim_wrapper),
        started_in=os.getcwd(),
    )
    write_text(folder / f'rank_{runner.rank}.json', json.dumps(row, indent=1) + '\n')
    if runner.rank == 0 and not config.exists():  # once in a run: laying it out takes seconds
        runner.cfg.dump(config)
    if runner.rank == 0 and weights is not None:
        _save(dict(state_dict=weights), folder / WEIGHTS)


def _save(content: dict[str, Any], path: Path) -> None:
    """Writes a file whole or not at all."""
    try:
        with whole_file(path) as file:
            torch.save(content, file)
    except RuntimeError as error:  # what torch makes of a full disk
        raise OSError(why_unwritten(error)) from error


def _describe(runner: Any, batch: SeenBatch) -> dict[str, Any]:
    return dict(
        iteration=batch.iteration + 1,
        epoch=batch.epoch + 1,
        batch=batch.number + 1,
        step_seed=batch.step_seed,
        loss_weights=batch.loss_weights,
        losses={name: str(value.item()) for name, value in batch.losses.items()},
        samples=_samples(runner.train_dataloader, batch),
    )


def _samples(loader: Any, batch: SeenBatch) -> list[dict[str, Any]]:
    if not isinstance(loader, SteadyLoader):
        return []
    return [
        dict(key=list(key) if isinstance(key, SampleKey) else int(key), file=loader.file_of(key))
        for key in loader.keys_of(batch.epoch, batch.number)
    ]


def _precision(wrapper: Any) -> dict[str, Any] | None:
    if isinstance(wrapper, BFloat16OptimWrapper):
        return dict(dtype='bfloat16', loss_scale=1.0)
    if not isinstance(wrapper, AmpOptimWrapper):
        return None
    dtype = wrapper.cast_dtype or torch.get_autocast_dtype('cuda')
    return dict(dtype=str(dtype).removeprefix('torch.'), loss_scale=scale_of(wrapper))


def scale_of(wrapper: Any) -> float:
    """What a wrapper multiplies losses with before they go backward."""
    scaler = getattr(wrapper, 'loss_scaler', None)
    return scaler.get_scale() if scaler is not None and scaler.is_enabled() else 1.0
