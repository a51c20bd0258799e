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
from vicmae.utils.names import name_some

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
    """Has the optimiser skip steps with non-finite losses or gradients, counts and records them.

    How steps are skipped is said at `GuardedOptimWrapper`, what is recorded in `vicmae.engine.bad_steps`. Counts are in
    the message hub, and from the first bad step on in the log, as `bad_steps`. An EMA teacher stays as it is, too.

    After too many bad steps in a row the run stops, or goes back to its last checkpoint. There it passes over the
    batches of these steps and some before them: what happens otherwise is the same again, as all follows from seeds
    (`PaLM <https://arxiv.org/abs/2204.02311>`_, section 5.1, passes over 200 to 500 batches from before a spike).

    Args:
        max_bad_steps: How many bad steps in a row are too many.
        check_interval: After how many steps the host looks, where the device skips bad steps by itself. Records, stop
            and rewind come at most so many steps late, and name the right step.
        when_exceeded: 'stop' or 'rewind'. The latter needs an `EpochLoop` or `IterLoop`.
        max_rewinds: How often a run goes back before it stops.
        rewind_margin: Iterations before the bad steps that are passed over, too.
        max_records: How many records of a run hold weights. The samples are in each.
    """

    priority = 'NORMAL'
    _batches: list[dict[str, Any]]
    _steps: deque[tuple[StepCheck, list[dict[str, Any]]]]
    _due: int | None  # the end of a row that is too long

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
        """Switches the optimiser's guard on."""
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
        """Switches it off."""
        runner.optim_wrapper.guarded = False

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keeps what a record needs, and acts on the steps that the host knows of."""
        wrapper = runner.optim_wrapper
        # Later in this iteration, or while one is collected, it is that of the checkpoint to be written.
        self._last_checkpoint = runner.message_hub.get_info('last_ckpt')
        if isinstance(outputs, dict):  # a batch that is passed over has none
            self._batches.append(_seen(runner, batch_idx, outputs))
        if self._batches and wrapper.should_update():
            self._steps.append((wrapper.last_check, self._batches))
            self._batches = []
        if self.end_of_epoch(runner.train_dataloader, batch_idx) or self.is_last_train_iter(runner):
            wrapper.read_checks()
        self._look(runner)
        if self._due is not None:
            consequence = self._consequence(runner, GuardState.of(runner), self._due)
            self._forget()
            raise consequence
        if total := GuardState.of(runner).total:
            runner.message_hub.update_scalar('train/bad_steps', total)

    def before_collect_checkpoint(self, runner: Any) -> None:
        """Counts what a checkpoint is to know of; a stop or rewind waits for the end of the next iteration."""
        if self._steps:
            runner.optim_wrapper.read_checks()
            self._look(runner)

    def _forget(self) -> None:
        self._batches, self._steps, self._due = [], deque(), None

    def _look(self, runner: Any) -> None:
        """Goes through the steps of which the host knows whether they were skipped."""
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
        """Counts a bad step, records it, says what happened and decides what follows."""
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

    def _consequence(self, runner: Any, state: GuardState, end: int) -> Exception:
        """Going back to a checkpoint where that may be, else the end of the run."""
        why, advice = '', ''
        if self.when_exceeded == 'rewind':
            checkpoint = _checkpoint(runner, state.checkpoint)
            if checkpoint and state.rewinds < self.max_rewinds:
                together = runner.optim_wrapper._accumulative_counts
                first = max(state.since - self.rewind_margin, 0) // together * together
                return RewindDue(checkpoint, first, end)
            why = ' There is no checkpoint of this run yet to go back to.'
            if checkpoint:
                times = f'{state.rewinds} time(s) already'
                why = f' It went back to a checkpoint {times}, see `default_hooks.step_guard.max_rewinds`.'
        else:
            advice = (
                ', and `default_hooks.step_guard.when_exceeded=rewind` goes back to a checkpoint'
            )
        return TrainingError(
            f'{state.in_a_row} steps in a row, since iteration {state.since + 1}, had losses or gradients that are '
            f'not finite; nothing was trained in them.{why} They are recorded in {str(Path(state.record).parent)!r}. '
            f'`python tools/analysis_tools/replay.py {shlex.quote(state.record)}` runs the first of them alone and '
            'says where it begins. What may help: a lower `optim_wrapper.optimizer.lr`, '
            '`optim_wrapper.clip_grad.max_norm=1.0`, `optim_wrapper.dtype=bfloat16` in the place of float16. '
            f'`default_hooks.step_guard.max_bad_steps`, now {self.max_bad_steps}, says how many are too many{advice}.'
        )


def _seen(runner: Any, number: int, outputs: dict[str, Any]) -> dict[str, Any]:
    """The batch that a run is at, with what came out of the model, for `write_record`."""
    seeded = any(isinstance(hook, StepSeedHook) for hook in runner.hooks)
    schedules = [hook for hook in runner.hooks if isinstance(hook, LossWeightScheduleHook)]
    epoch = runner.epoch
    if isinstance(runner.train_loop, IterLoop):  # its own epoch and batch count nothing
        epoch, number = runner.train_loop.batches.position
        number -= 1
    return dict(
        iteration=runner.iter + 1,
        epoch=epoch + 1,
        batch=number + 1,
        step_seed=seed_of_step(runner.seed, runner.iter, runner.rank) if seeded else None,
        loss_weights={hook.weight: hook.value_now(runner) for hook in schedules},
        losses=named_losses(outputs),
    )


def _faults_text(batches: list[dict[str, Any]], gradients: list[str]) -> str:
    """What is not finite on one rank."""
    losses = {name: value.item() for batch in batches for name, value in batch['losses'].items()}
    texts = [f'{name} is {value}' for name, value in losses.items() if not math.isfinite(value)]
    if gradients:
        texts.append(
            f'gradients of {len(gradients)} parameters are not finite ({name_some(gradients)})'
        )
    return ', '.join(texts)


def _checkpoint(runner: Any, wanted: str | None) -> str | None:
    """A checkpoint of this run: the wanted one, or the last one if that is gone; rank 0 finds it."""
    for hook in runner.hooks:
        if isinstance(hook, SafeCheckpointHook):
            hook.finish()
            hook.forget()
    usable = [bool(wanted and Path(wanted).exists())]
    broadcast_object_list(usable)
    if usable[0]:
        return wanted
    # A run that has written none leaves those of an earlier one in its folder alone.
    written = runner.message_hub.get_info('last_ckpt') is not None
    return agree_on_last_checkpoint(runner.work_dir) if written else None
