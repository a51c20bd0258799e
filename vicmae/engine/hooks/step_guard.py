# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math
import shlex
from collections import deque
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, broadcast_object_list
from mmengine.hooks import Hook

from vicmae.checkpoints.state import collect_state
from vicmae.errors import ConfigError, TrainingError
from vicmae.registry import HOOKS
from vicmae.utils.distributed import unwrapped
from vicmae.utils.names import count_of, name_some

from ..bad_steps import LATER_WEIGHTS, WEIGHTS, GuardState, RewindDue, named_losses, write_record
from ..gradients import global_norm
from ..loops import EpochLoop, IterLoop
from ..optimizers.guarded import GuardedOptimWrapper, StepCheck
from ..position import agree_on_last_checkpoint
from .loss_weight_schedule import LossWeightScheduleHook
from .safe_checkpoint import SafeCheckpointHook
from .step_seed import StepSeedHook, seed_of_step

ACTIONS = ('stop', 'rewind')
_LEAST = dict(max_bad_steps=1, check_interval=1, max_rewinds=0, rewind_margin=0, max_records=0)


@HOOKS.register_module()
class StepGuardHook(Hook):
    """Makes the optimizer skip steps with non-finite losses or gradients (bad steps), counts and records them.

    See `GuardedOptimWrapper` for how steps are skipped, and `vicmae.engine.bad_steps` for records. The log has their
    number as `bad_steps`. An EMA teacher skips these steps, too.

    After too many bad steps in a row the run stops, or rewinds to its last checkpoint and skips their batches and some
    before them; with the same batches, the same would happen again (`PaLM <https://arxiv.org/abs/2204.02311>`_, section
    5.1, skips 200 to 500 batches from before a spike).

    Args:
        max_bad_steps: Number of bad steps in a row after which the run stops or rewinds.
        check_interval: Interval in steps at which the host looks, if the device skips bad steps. Records, stop and
            rewind are delayed by up to this number, and name the right step.
        when_exceeded: 'stop', or 'rewind', which needs an `EpochLoop` or `IterLoop`.
        max_rewinds: Number of rewinds before the run stops.
        rewind_margin: Number of iterations before the bad steps that are skipped, too.
        max_records: Number of records with weights. All records have the samples.
    """

    priority = 'NORMAL'
    _batches: list[dict[str, Any]]
    _steps: deque[tuple[StepCheck, list[dict[str, Any]]]]
    _due: int | None  # end of a row that is too long

    def __init__(
        self,
        max_bad_steps: int = 10,
        *,
        check_interval: int = 10,
        when_exceeded: str = 'stop',
        max_rewinds: int = 3,
        rewind_margin: int = 100,
        max_records: int = 3,
    ) -> None:
        if when_exceeded not in ACTIONS:
            raise ValueError(
                f"`when_exceeded` must be one of {', '.join(ACTIONS)}, got '{when_exceeded}'."
            )
        self.max_bad_steps, self.check_interval = max_bad_steps, check_interval
        self.when_exceeded, self.max_rewinds = when_exceeded, max_rewinds
        self.rewind_margin, self.max_records = rewind_margin, max_records
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f'`{name}` must be at least {least}, got {getattr(self, name)}.')
        self._last_checkpoint: str | None = None
        self._forget()

    def before_train(self, runner: Any) -> None:
        """Switches the optimizer's guard on."""
        wrapper, loop = runner.optim_wrapper, runner.train_loop
        if getattr(type(wrapper), 'step', None) is not GuardedOptimWrapper.step:
            raise ConfigError(
                f'StepGuardHook needs one `GuardedOptimWrapper`, got {type(wrapper).__name__}. Derive yours from that '
                'first, or leave the hook out: `default_hooks.step_guard=None`.'
            )
        if self.when_exceeded == 'rewind' and not isinstance(loop, EpochLoop | IterLoop):
            raise ConfigError(
                f"StepGuardHook's `when_exceeded='rewind'` needs `train_cfg.type='EpochLoop'` or "
                f"'IterLoop', got {type(loop).__name__}, which can't go back. Change one of them."
            )
        wrapper.guarded, wrapper.check_interval = True, self.check_interval
        self._forget()

    def after_train(self, runner: Any) -> None:
        """Switches the guard off."""
        runner.optim_wrapper.guarded = False

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keeps what a record needs, and handles the steps that the host has read."""
        wrapper = runner.optim_wrapper
        # Read now: it changes before a checkpoint of this iteration is collected and written.
        self._last_checkpoint = runner.message_hub.get_info('last_ckpt')
        if isinstance(outputs, dict):  # None for a skipped batch
            self._batches.append(_seen(runner, batch_idx, outputs))
        if self._batches and wrapper.should_update():
            self._steps.append((wrapper.last_check, self._batches))
            self._batches = []
        if self.end_of_epoch(runner.train_dataloader, batch_idx) or self.is_last_train_iter(runner):
            wrapper.read_checks()
        self._look(runner)
        if self._due is not None:
            error = self._rewind_or_stop(runner, GuardState.of(runner), self._due)
            self._forget()
            raise error
        if total := GuardState.of(runner).total:
            runner.message_hub.update_scalar('train/bad_steps', total)

    def before_collect_checkpoint(self, runner: Any) -> None:
        """Counts steps before a checkpoint; a stop or rewind waits for the end of the next iteration."""
        if self._steps:
            runner.optim_wrapper.read_checks()
            self._look(runner)

    def _forget(self) -> None:
        self._batches, self._steps, self._due = [], deque(), None

    def _look(self, runner: Any) -> None:
        """Handles the steps of which the host knows whether they were skipped."""
        while self._due is None and self._steps and self._steps[0][0].bad is not None:
            check, batches = self._steps.popleft()
            state = GuardState.of(runner)
            if check.bad:
                self._count(runner, state, check, batches)
            elif state.in_a_row:
                state.in_a_row, state.weights = 0, None
                state.keep(runner)

    def _count(
        self, runner: Any, state: GuardState, check: StepCheck, batches: list[dict[str, Any]]
    ) -> None:
        """Counts, records and reports a bad step."""
        state.total += 1
        state.in_a_row += 1
        folder = Path(runner.work_dir, 'bad_steps', f'iter_{batches[-1]["iteration"]}')
        weights = None
        if state.in_a_row == 1:
            state.since, state.record = batches[0]['iteration'] - 1, str(folder)
            state.checkpoint = self._last_checkpoint
            if state.num_weights < self.max_records:
                state.num_weights += 1
                moved = any(not later.bad for later, _ in self._steps)
                state.weights = f'../{folder.name}/{LATER_WEIGHTS if moved else WEIGHTS}'
                weights = collect_state(runner.model)
        state.keep(runner)
        norm = global_norm(check.parameters, check.norms).item() / runner.optim_wrapper.scale
        norms = zip(check.parameters, check.norms.tolist(), strict=True)
        bad = {id(parameter) for parameter, value in norms if not math.isfinite(value)}
        names = [n for n, p in unwrapped(runner.model).named_parameters() if id(p) in bad]
        where = f'Recorded in {str(folder)!r}.'
        found = dict(grad_norm=str(norm), bad_gradients=names, weights=state.weights)
        try:
            write_record(runner, folder, batches, weights, **found)
        except OSError as error:
            where = f"Can't record it in {str(folder)!r}: {error.strerror or error}."
        faults = all_gather_object(_faults_text(batches, names))
        if runner.world_size > 1:
            faults = [text and f'on rank {rank} {text}' for rank, text in enumerate(faults)]
        last = batches[-1]
        runner.logger.warning(
            f'Bad step in iteration {last["iteration"]} (epoch {last["epoch"]}, batch {last["batch"]}): '
            f'{"; ".join(filter(None, faults)) or f"the norm of all gradients is {norm}"}. Nothing is trained in it. '
            f'Bad steps: {state.in_a_row} in a row, {state.total} in all. {where}'
        )
        if state.in_a_row >= self.max_bad_steps:
            self._due = last['iteration']

    def _rewind_or_stop(self, runner: Any, state: GuardState, end: int) -> Exception:
        """Returns the error that makes the loop rewind, or that ends the run."""
        why, advice = '', ''
        if self.when_exceeded == 'rewind':
            checkpoint = _checkpoint(runner, state.checkpoint)
            if checkpoint and state.rewinds < self.max_rewinds:
                together = runner.optim_wrapper._accumulative_counts
                first = max(state.since - self.rewind_margin, 0) // together * together
                return RewindDue(checkpoint, first, end)
            why = ' There is no checkpoint of this run yet to go back to.'
            if checkpoint:
                times = f'{count_of(state.rewinds, "time")} already'
                why = f' It went back to a checkpoint {times}, see `default_hooks.step_guard.max_rewinds`.'
        else:
            option = '`default_hooks.step_guard.when_exceeded=rewind`'
            advice = f', and {option} goes back to a checkpoint'
        return TrainingError(
            f'{state.in_a_row} steps in a row, since iteration {state.since + 1}, had losses or gradients that are '
            f'not finite; nothing was trained in them.{why} They are recorded in {str(Path(state.record).parent)!r}. '
            f'`python tools/analysis_tools/replay.py {shlex.quote(state.record)}` runs the first of them alone and '
            'says where it begins. What may help: a lower `optim_wrapper.optimizer.lr`, '
            '`optim_wrapper.clip_grad.max_norm=1.0`, `optim_wrapper.dtype=bfloat16` in the place of float16. '
            f'`default_hooks.step_guard.max_bad_steps`, now {self.max_bad_steps}, says how many are too many{advice}.'
        )


def _seen(runner: Any, number: int, outputs: dict[str, Any]) -> dict[str, Any]:
    """Returns the current batch and its losses, for `write_record`."""
    seeding = next((hook for hook in runner.hooks if isinstance(hook, StepSeedHook)), None)
    schedules = [hook for hook in runner.hooks if isinstance(hook, LossWeightScheduleHook)]
    epoch = runner.epoch
    if isinstance(runner.train_loop, IterLoop):  # its own epoch and batch count nothing
        epoch, number = runner.train_loop.batches.position
        number -= 1
    return dict(
        iteration=runner.iter + 1,
        epoch=epoch + 1,
        batch=number + 1,
        step_seed=seeding and seed_of_step(runner.seed, runner.iter, runner.rank),
        shared_seed=seeding and seeding.shared_seed(runner),
        loss_weights={hook.weight: hook.value_now(runner) for hook in schedules},
        losses=named_losses(outputs),
    )


def _faults_text(batches: list[dict[str, Any]], gradients: list[str]) -> str:
    """Returns the non-finite losses and gradients of one rank."""
    losses = {name: value.item() for batch in batches for name, value in batch['losses'].items()}
    texts = [f'{name} is {value}' for name, value in losses.items() if not math.isfinite(value)]
    if gradients:
        names = name_some(gradients)
        texts.append(f'gradients of {len(gradients)} parameters are not finite ({names})')
    return ', '.join(texts)


def _checkpoint(runner: Any, wanted: str | None) -> str | None:
    """Returns the wanted checkpoint, or this run's last one if that is gone, as rank 0 sees it."""
    for hook in runner.hooks:
        if isinstance(hook, SafeCheckpointHook):
            hook.finish()
            hook.forget()
    usable = [bool(wanted and Path(wanted).exists())]
    broadcast_object_list(usable)
    if usable[0]:
        return wanted
    # Without one of this run, those in its folder belong to an earlier run.
    written = runner.message_hub.get_info('last_ckpt') is not None
    return agree_on_last_checkpoint(runner.work_dir) if written else None
