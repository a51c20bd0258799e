# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook

from vicmae.errors import CheckpointError, ConfigError, Preempted
from vicmae.registry import HOOKS
from vicmae.utils.preemption import mark_preempted

from ..optimizers.guarded import GuardedOptimWrapper
from .safe_checkpoint import SafeCheckpointHook, is_between_steps


@HOOKS.register_module()
class PreemptionHook(Hook):
    """Ends a preempted run after its current step, with a checkpoint.

    A signal to one rank ends all, up to `check_interval` steps later where the device skips bad steps (see
    `StepGuardHook`). The exit status is 75, on which tools/slurm_train.sh requeues the job; `--resume` continues it.

    Args:
        signals: Signals to end on: SIGTERM is sent by `scancel`, `kill` and torchrun, SIGUSR1 by Slurm some time
            before the end of a job (`#SBATCH --signal=USR1@120`).
    """

    priority = 'LOWEST'  # after the checkpoint of this step, if there is one

    def __init__(self, signals: Sequence[str] = ('SIGTERM', 'SIGUSR1')) -> None:
        unknown = [name for name in signals if name not in signal.Signals.__members__]
        if unknown:
            raise ConfigError(
                f"`signals` has '{unknown[0]}', which is no signal here. Names are such as SIGTERM, SIGUSR1."
            )
        self.signals = [signal.Signals[name] for name in signals]
        self._received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def before_train(self, runner: Any) -> None:
        """Installs the signal handlers."""
        if runner.world_size > 1 and not isinstance(runner.optim_wrapper, GuardedOptimWrapper):
            raise ConfigError(
                'PreemptionHook passes a signal to other processes with the steps of a `GuardedOptimWrapper`, got '
                f'{type(runner.optim_wrapper).__name__}. Leave the hook out: `default_hooks.preemption=None`.'
            )
        self._wrapper = runner.optim_wrapper
        if threading.current_thread() is threading.main_thread():
            self._before = {name: signal.signal(name, self._receive) for name in self.signals}

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        alone = runner.world_size == 1 and self._received is not None
        if is_between_steps(runner) and (alone or getattr(self._wrapper, 'end_agreed', False)):
            self._end(runner, runner.epoch, runner.iter + 1)

    def after_val_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        # Several ranks may have different numbers of batches here; they end after their next step.
        if runner.world_size == 1 and self._received is not None and self._before:
            self._end(runner, runner.epoch, runner.iter)

    def after_train(self, runner: Any) -> None:
        """Restores the signal handlers."""
        for name, handler in self._before.items():
            signal.signal(name, handler)
        self._before = {}

    def _receive(self, number: int, frame: Any) -> None:
        self._received = signal.Signals(number)
        self._wrapper.asked_to_end = True
        text = f'{self._received.name}: stopping after this step, with a checkpoint.'
        print(text, file=sys.stderr, flush=True)

    def _end(self, runner: Any, epoch: int, step: int) -> None:
        saved = self._save(runner, epoch, step)
        self.after_train(runner)
        mark_preempted()
        raise Preempted(f'Preempted after iteration {step} of {runner.max_iters}. {saved}')

    def _save(self, runner: Any, epoch: int, step: int) -> str:
        """Writes a checkpoint of this step if there is none yet, and says which is the last, on all ranks alike."""
        hook = next((hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)), None)
        if hook is None:
            return 'Nothing writes checkpoints here.'
        try:
            if any(all_gather_object(not hook.is_saved(step))):
                hook.save(runner, f'iter_{step}.pth', epoch=epoch, step=step)
            hook.finish()
        except CheckpointError as error:
            runner.logger.error(str(error))
            hook.forget()
        if any(all_gather_object(not hook.is_saved(step))):
            saved = "This step's checkpoint could not be written; an earlier one is the last"
        else:
            saved = f'The checkpoint is {hook.last_ckpt}'
        return f'{saved}. Continue with `--resume`.'
