# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The position of a run in its data, to resume from on any number of ranks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from torch.utils.data import DataLoader

from vicmae.checkpoints.last import find_last_checkpoint
from vicmae.errors import CheckpointError, ConfigError
from vicmae.utils.names import count_of

from .bad_steps import GuardState


def agree_on_last_checkpoint(work_dir: str) -> str | None:
    """Finds the checkpoint that all ranks resume from. Refuses a work directory that they don't share."""
    found: list[Any] = [None]
    if is_main_process():
        try:
            last = find_last_checkpoint(work_dir)
            found = [str(last) if last else None]
        except CheckpointError as error:  # an error of one would leave the others waiting
            found = [error]
    broadcast_object_list(found)
    last_path = found[0]
    if isinstance(last_path, CheckpointError):
        raise last_path
    seen = all_gather_object(last_path is None or Path(last_path).exists())
    if not all(seen):
        raise ConfigError(
            f'The checkpoint {last_path!r} is seen by {sum(seen)} of {len(seen)} processes. All of them need the same '
            '`--work-dir`, on a file system that their machines share.'
        )
    return last_path


class Position(NamedTuple):
    """Says how far a run is in its data. Numbers of batches are those of one rank.

    Attributes:
        epoch: Number of complete epochs.
        batch: Number of batches done in the next epoch.
        batches_per_epoch: Number of batches in an epoch.
        batch_size: Samples in a batch of one rank.
        num_ranks: Number of ranks.
        max_iters: Steps of the whole run; None in older checkpoints.
    """

    epoch: int
    batch: int
    batches_per_epoch: int
    batch_size: int
    num_ranks: int
    max_iters: int | None = None

    @property
    def samples_per_batch(self) -> int:
        """Samples of all ranks together."""
        return self.batch_size * self.num_ranks


def position_of(runner: Any, epoch: int, iteration: int) -> Position:
    """Returns the position of a run after an iteration of an epoch."""
    loader: DataLoader = runner.train_dataloader
    batch = iteration - epoch * len(loader)
    if hasattr(runner.train_loop, 'batches'):
        epoch, batch = runner.train_loop.batches.position
    batch_size = getattr(loader.batch_sampler, 'batch_size', None) or loader.batch_size or 1
    return Position(epoch, batch, len(loader), batch_size, runner.world_size, runner.max_iters)


def adopt_position(runner: Any, saved: Position, initial_settings: list[dict[str, Any]]) -> None:
    """Continues a resumed run at its next samples, also if the size or number of batches or its length changed.

    Schedules follow a new length of the run. Samples keep their order on any number of ranks. If a step has as many
    samples as before, nothing else changes. If not, at most one batch is seen again, and the length of the run and its
    schedules keep their number of epochs.

    Args:
        runner: The resumed run.
        saved: Its position in the checkpoint.
        initial_settings: Where its schedules begin, such as `initial_lr`, by group of parameters.
    """
    now = position_of(runner, saved.epoch, runner.iter)
    if now.num_ranks != saved.num_ranks:
        runner.logger.info(
            f'Resumed with {count_of(now.num_ranks, "process", "processes")} instead of {saved.num_ranks}. '
            'The order of the data is the same.'
        )
    same_length = saved.max_iters in (None, now.max_iters)
    batch = saved.batch * saved.samples_per_batch // now.samples_per_batch
    batch = min(batch, now.batches_per_epoch)
    if hasattr(runner.train_loop, 'batches'):  # its length and schedules are counted in iterations
        runner.train_loop.batches.go_to(saved.epoch, batch)
        if now.samples_per_batch != saved.samples_per_batch or not same_length:
            _replay_schedules(runner, initial_settings)
        return
    same_steps = now.samples_per_batch == saved.samples_per_batch
    if same_steps and now.batches_per_epoch == saved.batches_per_epoch:
        if not same_length:
            runner.logger.info(
                f'The run has {now.max_iters} iterations and had {saved.max_iters}: schedules follow its new length.'
            )
            _replay_schedules(runner, initial_settings)
        return
    step = saved.epoch * now.batches_per_epoch + batch
    step -= step % getattr(runner.optim_wrapper, '_accumulative_counts', 1)  # no gradient is held
    runner.logger.warning(
        f'An epoch has {now.batches_per_epoch} steps of {now.samples_per_batch} samples now and had '
        f'{saved.batches_per_epoch} of {saved.samples_per_batch}: iteration {runner.iter} becomes {step} of '
        f'{runner.max_iters}, and schedules are where they would be then.'
    )
    runner.train_loop._iter = step
    state = GuardState.of(runner)
    state.renumber(saved.samples_per_batch / now.samples_per_batch)
    state.keep(runner)
    _replay_schedules(runner, initial_settings)


def _replay_schedules(runner: Any, initial_settings: list[dict[str, Any]]) -> None:
    """Steps schedules from the start to this iteration: each value depends on the one before."""
    if not isinstance(runner.param_schedulers, list):
        return
    for group, initial in zip(runner.optim_wrapper.param_groups, initial_settings, strict=True):
        group.update(initial)
        group.update({name.removeprefix('initial_'): value for name, value in initial.items()})
    runner.param_schedulers = runner.build_param_scheduler(runner.schedule_settings)
    step_schedules(runner.param_schedulers, runner.iter, len(runner.train_dataloader))


def step_schedules(schedules: Sequence[Any], num_steps: int, epoch_length: int) -> None:
    """Moves new schedules forward by steps of training, without steps of the optimizer."""
    for iteration in range(1, num_steps + 1):
        for schedule in schedules:
            if iteration % epoch_length == 0 or not schedule.by_epoch:
                schedule.step()
