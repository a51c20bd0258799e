# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import shlex
from collections import deque
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, broadcast_object_list
from mmengine.hooks import Hook

from vicmae.checkpoints.last import LAST
from vicmae.checkpoints.state import collect_state
from vicmae.errors import ConfigError, TrainingError
from vicmae.registry import HOOKS
from vicmae.utils.distributed import unwrapped

from ..bad_steps import (
    LATER_WEIGHTS,
    WEIGHTS,
    SeenBatch,
    SeenStep,
    folder_of,
    named_losses,
    write_record,
)
from ..gradients import global_norm
from ..guard_state import GuardState, RewindDue
from ..loops import EpochLoop, IterLoop
from ..optimizers.guarded import GuardedOptimWrapper
from ..position import agree_on_last_checkpoint
from .loss_weight_schedule import LossWeightScheduleHook
from .safe_checkpoint import SafeCheckpointHook
from .step_seed import StepSeedHook, seed_of_step

ACTIONS = ('stop', 'rewind')
_MOST_NAMED = 4
_REPLAY = 'python tools/analysis_tools/replay.py'


@HOOKS.register_module()
class StepGuardHook(Hook):
    """Switches on that the optimiser skips steps with non-finite losses or gradients, counts and records them.

    All ranks skip alike, also where one of them alone has the fault. Weights, buffers, the optimiser's state and an
    EMA teacher stay as they are; what was accumulated for the step is dropped (see `GuardedOptimWrapper`). Infinite
    gradients at finite losses are left to a `GradScaler` as long as it can lower its scale.

    The batch's samples, seeds and the weights are in `WORK_DIR/bad_steps`, for tools/analysis_tools/replay.py. The
    counts are in the message hub, and from the first bad step on in the log, as `bad_steps`.

    After too many bad steps in a row the run stops, or goes back to its last checkpoint. There it passes over the
    batches of these steps and some before them: what happens otherwise is the same again, as all follows from seeds
    (`PaLM <https://arxiv.org/abs/2204.02311>`_, section 5.1, passes over 200 to 500 batches from before a spike).

    Args:
        max_bad_steps: How many bad steps in a row are too many.
        check_interval: After how many steps the host looks, where the device skips bad steps by itself (on a GPU, with
            a fused optimiser, without loss scaling). Records, stop and rewind come at most so many steps late, and
            name the right step. Elsewhere the host looks at each step.
        when_exceeded: 'stop' or 'rewind'. The latter needs an `EpochLoop` or `IterLoop`.
        max_rewinds: How often a run goes back before it stops.
        rewind_margin: Iterations before the bad steps that are passed over, too.
        max_records: How many records of a run hold weights. The samples are in each.
    """

    priority = 'NORMAL'

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
        for name, value in dict(max_bad_steps=max_bad_steps, check_interval=check_interval).items():
            if value < 1:
                raise ValueError(f'`{name}` must be at least 1, got {value}.')
        if when_exceeded not in ACTIONS:
            raise ValueError(
                f"`when_exceeded` must be one of {', '.join(ACTIONS)}, got '{when_exceeded}'."
            )
        counts = dict(max_rewinds=max_rewinds, rewind_margin=rewind_margin, max_records=max_records)
        for name, value in counts.items():
            if value < 0:
                raise ValueError(f'`{name}` must not be negative, got {value}.')
        self.max_bad_steps = max_bad_steps
        self.check_interval = check_interval
        self.when_exceeded = when_exceeded
        self.max_rewinds = max_rewinds
        self.rewind_margin = rewind_margin
        self.max_records = max_records
        self._batches: list[SeenBatch] = []
        self._steps: deque[SeenStep] = deque()
        self._due: Exception | None = None
        self._older_checkpoint: int | None = None

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
        # Of an earlier run in this folder, where this one doesn't resume it.
        self._older_checkpoint = None if runner.iter else _time_of(runner.work_dir)

    def after_train(self, runner: Any) -> None:
        """Switches it off."""
        runner.optim_wrapper.guarded = False

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keeps what a record needs, and acts on the steps that the host knows of."""
        wrapper = runner.optim_wrapper
        if isinstance(outputs, dict):  # a batch that is passed over has none
            self._batches.append(_seen(runner, batch_idx, outputs))
        if self._batches and wrapper.should_update():
            self._steps.append(SeenStep(self._batches, wrapper.last_check))
            self._batches = []
        if self.end_of_epoch(runner.train_dataloader, batch_idx) or self.is_last_train_iter(runner):
            wrapper.read_checks()
        self._look(runner)
        if self._due is not None:
            due = self._due
            self._forget()
            raise due
        if total := GuardState.of(runner).total:
            runner.message_hub.update_scalar('train/bad_steps', total)

    def before_collect_checkpoint(self, runner: Any) -> None:
        """Counts what a checkpoint is to know of; a stop or rewind waits for the end of the next iteration."""
        runner.optim_wrapper.read_checks()
        self._look(runner)

    def _forget(self) -> None:
        self._batches, self._due = [], None
        self._steps.clear()

    def _look(self, runner: Any) -> None:
        """Goes through the steps of which the host knows whether they were skipped."""
        while self._due is None and self._steps and self._steps[0].check.bad is not None:
            step = self._steps.popleft()
            state = GuardState.of(runner)
            if step.check.bad:
                self._count(runner, state, step)
            elif state.in_a_row:
                state.end_row()
                state.keep(runner)

    def _count(self, runner: Any, state: GuardState, step: SeenStep) -> None:
        state.total += 1
        state.in_a_row += 1
        writes = state.in_a_row == 1 and state.num_weights < self.max_records
        if state.in_a_row == 1:
            state.since = step.batches[0].iteration
            state.record = str(folder_of(runner, step))
            state.checkpoint = self._checkpoint(runner)
        if writes:
            state.num_weights += 1
            moved = any(not later.check.bad for later in self._steps)
            state.weights = (
                f'../{folder_of(runner, step).name}/{LATER_WEIGHTS if moved else WEIGHTS}'
            )
        state.keep(runner)
        self._report(runner, state, step, collect_state(runner.model) if writes else None)
        if state.in_a_row >= self.max_bad_steps:
            self._due = self._consequence(runner, state, step)

    def _report(
        self, runner: Any, state: GuardState, step: SeenStep, weights: dict[str, Any] | None
    ) -> None:
        """Writes the record, and says what happened."""
        check, batch = step.check, step.batches[-1]
        norm = global_norm(check.parameters, check.norms).item() / runner.optim_wrapper.scale
        bad = {
            id(p)
            for p, fine in zip(check.parameters, check.norms.isfinite().tolist(), strict=True)
            if not fine
        }
        names = [n for n, p in unwrapped(runner.model).named_parameters() if id(p) in bad]
        losses = {
            name: str(value.item())
            for batch in step.batches
            for name, value in batch.losses.items()
            if not value.isfinite()
        }
        folder = str(folder_of(runner, step))
        where = f'Recorded in {folder!r}.'
        try:
            write_record(
                runner,
                step,
                weights=state.weights,
                state=weights,
                grad_norm=str(norm),
                bad_gradients=names,
            )
        except OSError as error:
            where = f"Can't record it in {folder!r}: {error.strerror or error}."
        faults = all_gather_object(_faults_text(losses, names))
        on_ranks = [
            f'on rank {rank} {text}' if len(faults) > 1 else text
            for rank, text in enumerate(faults)
            if text
        ]
        runner.logger.warning(
            f'Bad step in iteration {step.iteration + 1} (epoch {batch.epoch + 1}, batch {batch.number + 1}): '
            f'{"; ".join(on_ranks) or f"the norm of all gradients is {norm}"}. Nothing is trained in it. '
            f'Bad steps: {state.in_a_row} in a row, {state.total} in all. {where}'
        )

    def _consequence(self, runner: Any, state: GuardState, step: SeenStep) -> Exception:
        """Going back to a checkpoint where that may be, else the end of the run."""
        why = ''
        if self.when_exceeded == 'rewind':
            for hook in runner.hooks:
                if isinstance(hook, SafeCheckpointHook):
                    hook.finish()
                    hook.forget()
            checkpoint = self._checkpoint(runner, state.checkpoint)
            if checkpoint and state.rewinds < self.max_rewinds:
                together = runner.optim_wrapper._accumulative_counts
                first = max(state.since - self.rewind_margin, 0) // together * together
                return RewindDue(checkpoint, first, step.iteration + 1)
            why = (
                f' The run went back to a checkpoint {state.rewinds} time(s) already, and no more is allowed by '
                '`default_hooks.step_guard.max_rewinds`.'
                if checkpoint
                else ' There is no checkpoint of this run yet to go back to.'
            )
        return TrainingError(
            f'{state.in_a_row} steps in a row, since iteration {state.since + 1}, had losses or gradients that are '
            f'not finite; nothing was trained in them.{why} They are recorded in {str(Path(state.record).parent)!r}. '
            f'`{_REPLAY} {shlex.quote(state.record)}` runs the first of them alone and says where '
            'it begins. What may help: a lower `optim_wrapper.optimizer.lr`, '
            '`optim_wrapper.clip_grad.max_norm=1.0`, `optim_wrapper.dtype=bfloat16` in the place of float16. '
            f'`default_hooks.step_guard.max_bad_steps`, now {self.max_bad_steps}, says how many are too many'
            + (
                ', and `default_hooks.step_guard.when_exceeded=rewind` goes back to the last checkpoint.'
                if self.when_exceeded == 'stop'
                else '.'
            )
        )

    def _checkpoint(self, runner: Any, wanted: str | None = None) -> str | None:
        """A checkpoint of this run, the last one if the wanted one isn't there, as rank 0 finds it."""
        usable = [bool(wanted and Path(wanted).exists())]
        own = [_time_of(runner.work_dir) != self._older_checkpoint]
        broadcast_object_list(usable)
        broadcast_object_list(own)
        if usable[0]:
            return wanted
        return agree_on_last_checkpoint(runner.work_dir) if own[0] else None


def _seen(runner: Any, number: int, outputs: dict[str, Any]) -> SeenBatch:
    """The batch that a run is at, with what came out of the model."""
    seeded = any(isinstance(hook, StepSeedHook) for hook in runner.hooks)
    return SeenBatch(
        iteration=runner.iter,
        epoch=runner.epoch,
        number=number,
        losses=named_losses(outputs),
        loss_weights={
            hook.weight: hook.value_now(runner)
            for hook in runner.hooks
            if isinstance(hook, LossWeightScheduleHook)
        },
        step_seed=seed_of_step(runner.seed, runner.iter, runner.rank) if seeded else None,
    )


def _faults_text(losses: dict[str, str], gradients: list[str]) -> str:
    """What is not finite on one rank."""
    texts = [f'{name} is {value}' for name, value in losses.items()]
    if gradients:
        more = ', ...' if len(gradients) > _MOST_NAMED else ''
        names = ', '.join(gradients[:_MOST_NAMED])
        texts.append(f'gradients of {len(gradients)} parameters are not finite ({names}{more})')
    return ', '.join(texts)


def _time_of(work_dir: str) -> int | None:
    """When the work directory's last checkpoint was named."""
    file = Path(work_dir, LAST)
    return file.stat().st_mtime_ns if file.is_file() else None
