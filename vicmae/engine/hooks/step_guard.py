# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import functools
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_gather_object, all_reduce, broadcast_object_list
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn

from vicmae.checkpoints.last import LAST
from vicmae.errors import ConfigError, TrainingError
from vicmae.registry import HOOKS
from vicmae.utils.distributed import unwrapped

from ..bad_steps import SeenBatch, folder_of, scale_of, write_record
from ..gradients import global_norm, non_finite_gradients
from ..guard_state import GuardState
from ..loops import EpochLoop, IterLoop
from ..position import agree_on_last_checkpoint
from ..rewind import Rewind, RewindDue
from ..sharding import collect_state
from .loss_weight_schedule import LossWeightScheduleHook
from .safe_checkpoint import SafeCheckpointHook
from .step_seed import StepSeedHook, seed_of_step

ACTIONS = ('stop', 'rewind')
_MOST_NAMED = 4
_REPLAY = 'python tools/analysis_tools/replay.py'


class Faults(NamedTuple):
    """What is not finite on one rank.

    Attributes:
        losses: Values as text, by name.
        gradients: Names of parameters.
    """

    losses: dict[str, str]
    gradients: list[str]


@HOOKS.register_module()
class StepGuardHook(Hook):
    """Skips a step of the optimiser whose losses or gradients are not finite, and writes down what led to it.

    All ranks skip alike, also where one of them alone has the fault. Weights, buffers, the optimiser's state and an
    averaged teacher stay as they are; what was accumulated for the step is dropped. Infinite gradients at finite
    losses are left to a `GradScaler` as long as it can lower its scale.

    The batch's samples, seeds and the weights are in `WORK_DIR/bad_steps`, for tools/analysis_tools/replay.py. The
    counts are in the message hub, and from the first bad step on in the log, as `bad_steps`.

    After too many bad steps in a row the run stops, or goes back to its last checkpoint. There it passes over the
    batches of these steps and some before them: what happens otherwise is the same again, as all follows from seeds
    (`PaLM <https://arxiv.org/abs/2204.02311>`_, section 5.1, passes over 200 to 500 batches from before a spike).

    Args:
        max_bad_steps: How many bad steps in a row are too many.
        when_exceeded: 'stop' or 'rewind'. The latter needs a `EpochLoop` or `IterLoop`.
        max_rewinds: How often a run goes back before it stops.
        rewind_margin: Iterations before the bad steps that are passed over, too.
        max_records: How many records of a run hold weights. The samples are in each.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        max_bad_steps: int = 10,
        *,
        when_exceeded: str = 'stop',
        max_rewinds: int = 3,
        rewind_margin: int = 100,
        max_records: int = 3,
    ) -> None:
        if max_bad_steps < 1:
            raise ValueError(f'`max_bad_steps` must be at least 1, got {max_bad_steps}.')
        if when_exceeded not in ACTIONS:
            raise ValueError(
                f"`when_exceeded` must be one of {', '.join(ACTIONS)}, got '{when_exceeded}'."
            )
        counts = dict(max_rewinds=max_rewinds, rewind_margin=rewind_margin, max_records=max_records)
        for name, value in counts.items():
            if value < 0:
                raise ValueError(f'`{name}` must not be negative, got {value}.')
        self.max_bad_steps = max_bad_steps
        self.when_exceeded = when_exceeded
        self.max_rewinds = max_rewinds
        self.rewind_margin = rewind_margin
        self.max_records = max_records
        self._batches: list[SeenBatch] = []
        self._buffers: list[Tensor] = []
        self._number = 0
        self._undo: list[Callable[[], None]] = []
        self._older_checkpoint: int | None = None

    def before_train(self, runner: Any) -> None:
        """Stands between the gradients and the optimiser."""
        wrapper, model = runner.optim_wrapper, unwrapped(runner.model)
        self._require_parts(runner)
        self._batches = []
        # Of an earlier run in this folder, where this one doesn't go on from it.
        self._older_checkpoint = None if runner.iter else _time_of(runner.work_dir)
        step, before = wrapper.step, vars(wrapper).get('step')  # schedules put one there, too

        @functools.wraps(step)
        def guarded_step(**kwargs: Any) -> None:
            if self._is_good(runner):
                step(**kwargs)

        wrapper.step = guarded_step

        def unguard() -> None:
            del wrapper.step
            if before is not None:
                wrapper.step = before

        def look_before(*_: Any) -> None:
            if model.training and not self._batches:
                self._buffers = [buffer.clone() for buffer in model.buffers()]

        def look_after(_: nn.Module, __: Any, outputs: Any) -> None:
            if model.training and isinstance(outputs, dict):
                self._batches.append(_seen(runner, self._number, outputs))

        self._undo = [
            unguard,
            model.register_forward_pre_hook(look_before).remove,
            model.register_forward_hook(look_after).remove,
        ]

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Keeps the batch's number."""
        self._number = batch_idx

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Puts the count into the log, once there is one."""
        if total := GuardState.of(runner).total:
            runner.message_hub.update_scalar('train/bad_steps', total)

    def after_train(self, runner: Any) -> None:
        """Lets go of optimiser and model."""
        for undo in self._undo:
            undo()
        self._undo = []

    def _require_parts(self, runner: Any) -> None:
        if isinstance(runner.optim_wrapper, OptimWrapperDict):
            raise ConfigError(
                'StepGuardHook guards one optimiser, and this run has several. '
                'Leave it out: `default_hooks.step_guard=None`.'
            )
        loop = runner.train_loop
        if self.when_exceeded == 'rewind' and not isinstance(loop, EpochLoop | IterLoop):
            raise ConfigError(
                f"StepGuardHook's `when_exceeded='rewind'` needs `train_cfg.type='EpochLoop'` or "
                f"'IterLoop', got {type(loop).__name__}, which can't go back. Change one of them."
            )

    def _is_good(self, runner: Any) -> bool:
        """Whether the optimiser may step; where not, all that a bad step asks for is done."""
        batches, self._batches = self._batches, []
        wrapper = runner.optim_wrapper
        norm = global_norm(p for group in wrapper.optimizer.param_groups for p in group['params'])
        losses_fine, gradients_fine = _fine_on_all_ranks(batches, norm)
        if losses_fine and not gradients_fine and _scaler_copes(wrapper):
            return True
        state = GuardState.of(runner)
        if losses_fine and gradients_fine:
            if state.in_a_row:
                state.end_row()
                state.keep(runner)
            return True
        self._keep_buffers(runner, batches)
        self._count(runner, state, batches)
        self._report(runner, state, batches, norm.item() / scale_of(wrapper))
        if state.in_a_row >= self.max_bad_steps:
            self._give_up(runner, state)
        return False

    def _keep_buffers(self, runner: Any, batches: Sequence[SeenBatch]) -> None:
        """Takes back what the forward passes did to running means."""
        if not batches:
            return
        with torch.no_grad():
            for buffer, before in zip(
                unwrapped(runner.model).buffers(), self._buffers, strict=True
            ):
                buffer.copy_(before)

    def _count(self, runner: Any, state: GuardState, batches: Sequence[SeenBatch]) -> None:
        state.total += 1
        state.in_a_row += 1
        if state.in_a_row == 1:
            state.since = batches[0].iteration if batches else runner.iter
            state.first_step = runner.iter
            state.checkpoint = self._checkpoint(runner)
            if state.num_weights < self.max_records:
                state.num_weights += 1
                state.weights_in = runner.iter
        state.keep(runner)

    def _report(
        self, runner: Any, state: GuardState, batches: Sequence[SeenBatch], norm: float
    ) -> None:
        """Writes the record, and says what happened."""
        faults = Faults(
            {name: value for batch in batches for name, value in batch.bad_losses().items()},
            non_finite_gradients(unwrapped(runner.model)),
        )
        folder = folder_of(runner, runner.iter)
        where = f'Recorded in {str(folder)!r}.'
        weights = (
            collect_state(runner.model).get('state_dict')
            if state.weights_in == runner.iter
            else None
        )
        try:
            write_record(
                runner,
                batches,
                grad_norm=norm,
                bad_gradients=faults.gradients,
                weights_in=state.weights_in,
                weights=weights,
            )
        except OSError as error:
            where = f"Can't record it in {str(folder)!r}: {error.strerror or error}."
        number = batches[-1].number if batches else self._number
        runner.logger.warning(
            f'Bad step in iteration {runner.iter + 1} (epoch {runner.epoch + 1}, batch {number + 1}): '
            f'{_faults_text(all_gather_object(faults), norm)}. Nothing is trained in it. '
            f'Bad steps: {state.in_a_row} in a row, {state.total} in all. {where}'
        )

    def _give_up(self, runner: Any, state: GuardState) -> None:
        """Goes back to a checkpoint where it may, else ends the run."""
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
                raise RewindDue(Rewind(checkpoint, first, runner.iter + 1))
            why = (
                f' The run went back to a checkpoint {state.rewinds} time(s) already, and no more is allowed by '
                '`default_hooks.step_guard.max_rewinds`.'
                if checkpoint
                else ' There is no checkpoint of this run yet to go back to.'
            )
        first_record = folder_of(runner, state.first_step)
        raise TrainingError(
            f'{state.in_a_row} steps in a row, since iteration {state.since + 1}, had losses or gradients that are '
            f'not finite; nothing was trained in them.{why} They are recorded in {str(first_record.parent)!r}. '
            f'`{_REPLAY} {shlex.quote(str(first_record))}` runs the first of them alone and says where '
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
        losses={name: _scalar(value) for name, value in outputs.items() if 'loss' in name},
        loss_weights={
            hook.weight: hook.value_now(runner)
            for hook in runner.hooks
            if isinstance(hook, LossWeightScheduleHook)
        },
        step_seed=seed_of_step(runner.seed, runner.iter, runner.rank) if seeded else None,
    )


def _scalar(value: Tensor | Sequence[Tensor]) -> Tensor:
    """What MMEngine makes of a loss: the mean, of a list the sum of the means."""
    if isinstance(value, Tensor):
        return value.detach().mean()
    return torch.stack([part.detach().mean() for part in value]).sum()


def _fine_on_all_ranks(batches: Sequence[SeenBatch], norm: Tensor) -> tuple[bool, bool]:
    """Whether losses, and whether gradients are finite on every rank: one wait for the device."""
    losses = [loss.isfinite() for batch in batches for loss in batch.losses.values()]
    gradients_fine = norm.isfinite()
    losses_fine = torch.stack(losses).all() if losses else torch.ones_like(gradients_fine)
    fine = torch.stack([losses_fine.to(norm.device), gradients_fine]).int()
    all_reduce(fine, op='min')
    losses_good, gradients_good = fine.tolist()
    return bool(losses_good), bool(gradients_good)


def _scaler_copes(wrapper: Any) -> bool:
    """Whether infinite gradients may come of the scale alone, which the scaler lowers then by itself."""
    fixed = getattr(wrapper, '_scale_update_param', None) is not None
    return not fixed and scale_of(wrapper) > 1


def _faults_text(faults: Sequence[Faults], norm: float) -> str:
    """What is not finite, on which ranks."""
    texts = []
    for rank, (losses, gradients) in enumerate(faults):
        named = [f'{name} is {value}' for name, value in losses.items()]
        if gradients:
            more = ', ...' if len(gradients) > _MOST_NAMED else ''
            names = ', '.join(gradients[:_MOST_NAMED])
            named.append(f'gradients of {len(gradients)} parameters are not finite ({names}{more})')
        if named:
            on = f'on rank {rank} ' if len(faults) > 1 else ''
            texts.append(on + ', '.join(named))
    return '; '.join(texts) or f'the norm of all gradients is {norm}'


def _time_of(work_dir: str) -> int | None:
    """When the work directory's last checkpoint was named."""
    file = Path(work_dir, LAST)
    return file.stat().st_mtime_ns if file.is_file() else None
