# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The position of a run in its data, to resume there on any number of ranks."""

from pathlib import Path
from typing import Any, NamedTuple

from mmengine.dist import all_gather_object, broadcast_object_list, is_main_process
from mmengine.optim import OptimWrapper
from torch.utils.data import DataLoader

from vicmae.checkpoints.last import find_last_checkpoint
from vicmae.errors import CheckpointError, ConfigError

from .bad_steps import GuardState


def agree_on_last_checkpoint(work_dir: str) -> str | None:
    """Finds the checkpoint that all ranks resume from, on rank 0. Refuses work directories that they don't share."""
    found: list[Any] = [None, None]
    if is_main_process():
        try:
            last = find_last_checkpoint(work_dir)
            found = [str(last) if last else None, None]
        except CheckpointError as error:  # an error of one would leave the others waiting
            found = [None, error]
    broadcast_object_list(found)
    last_path, fault = found
    if fault is not None:
        raise fault
    seen = all_gather_object(last_path is None or Path(last_path).exists())
    if not all(seen):
        raise ConfigError(
            f'The checkpoint {last_path!r} is seen by {sum(seen)} of {len(seen)} processes. All of them need the same '
            '`--work-dir`, on a file system that their machines share.'
        )
    return last_path


class Position(NamedTuple):
    """How far a run is in its data.

    Attributes:
        epoch: Epochs that are done.
        batch: Batches of the next one that are done, on each rank.
        batches_per_epoch: Of each rank.
        batch_size: Samples of a batch of one rank.
        num_ranks: How many ranks there are.
    """

    epoch: int
    batch: int
    batches_per_epoch: int
    batch_size: int
    num_ranks: int

    @property
    def samples_per_batch(self) -> int:
        """Samples of all ranks together."""
        return self.batch_size * self.num_ranks


def position_of(runner: Any, epoch: int, iteration: int) -> Position:
    """The position of a run that has done so many iterations."""
    loader = runner.train_dataloader
    batches = getattr(runner.train_loop, 'batches', None)
    if batches is not None:
        epoch, batch = batches.position
    else:
        batch = iteration - epoch * len(loader)
    return Position(epoch, batch, len(loader), _batch_size(loader), runner.world_size)


def adopt_position(runner: Any, saved: Position, initial_settings: list[dict[str, Any]]) -> None:
    """Brings a run that was resumed to the samples that are next, also where its batches are others than before.

    Samples keep their order on any number of ranks. Where the batches of all ranks together are as large as before,
    nothing else changes. Where they aren't, at most one batch is seen again; what is counted in epochs (the length of
    the run, its schedules) is that of the config, with the iterations that an epoch has now.

    Args:
        runner: The run.
        saved: Where it was.
        initial_settings: What its schedules begin from, such as `initial_lr`, by group of parameters.
    """
    now = position_of(runner, saved.epoch, runner.iter)
    if now.num_ranks != saved.num_ranks:
        runner.logger.info(
            f'Resumed with {now.num_ranks} process(es) instead of {saved.num_ranks}. The order of the data is the same.'
        )
    batch = saved.batch * saved.samples_per_batch // now.samples_per_batch
    batch = min(batch, now.batches_per_epoch)
    if hasattr(runner.train_loop, 'batches'):  # its length and schedules are counted in iterations
        runner.train_loop.batches.go_to(saved.epoch, batch)
        if now.samples_per_batch != saved.samples_per_batch:
            _replay_schedules(runner, initial_settings)
        return
    same_steps = now.samples_per_batch == saved.samples_per_batch
    if same_steps and now.batches_per_epoch == saved.batches_per_epoch:
        return
    step = _whole_step(runner.optim_wrapper, saved.epoch * now.batches_per_epoch + batch)
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


def _whole_step(optim_wrapper: OptimWrapper, iteration: int) -> int:
    """The last iteration up to this one behind which no gradient is held."""
    return iteration - iteration % getattr(optim_wrapper, '_accumulative_counts', 1)


def _replay_schedules(runner: Any, initial_settings: list[dict[str, Any]]) -> None:
    """Brings schedules to this iteration: each of their values follows from the one before."""
    if not isinstance(runner.param_schedulers, list):
        return
    for group, initial in zip(runner.optim_wrapper.param_groups, initial_settings, strict=True):
        group.update(initial)
        group.update({name.removeprefix('initial_'): value for name, value in initial.items()})
    runner.param_schedulers = runner.build_param_scheduler(runner.schedule_settings)
    for iteration in range(1, runner.iter + 1):
        epoch_ends = iteration % len(runner.train_dataloader) == 0
        for schedule in runner.param_schedulers:
            if epoch_ends or not schedule.by_epoch:
                schedule.step()


def _batch_size(loader: DataLoader) -> int:
    return getattr(loader.batch_sampler, 'batch_size', None) or loader.batch_size or 1
