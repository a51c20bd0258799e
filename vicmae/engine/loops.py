# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from typing import Any

from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

from vicmae.datasets.loader.steady import SteadyLoader
from vicmae.registry import LOOPS

from .bad_steps import GuardState, RewindDue

_EVALUATED = 'evaluated_at'


class _Resumable:
    """Common part of both loops: repeats an evaluation after resuming, and rewinds for `StepGuardHook`."""

    runner: Any
    run_iter: Any
    _iter: int
    # Methods of each loop: the arguments of its `run_iter`, and whether to evaluate now.
    _step: Any
    _is_evaluation_due: Any

    def _train_or_pass_over(self, number: int, batch: Any) -> bool:
        """Trains a step, or skips it. Returns False after a rewind."""
        try:
            if GuardState.of(self.runner).passes_over(self._iter):
                self._pass_over(number, batch)
            else:
                self.run_iter(*self._step(number, batch))
        except RewindDue as due:
            self._go_back(due)
            return False
        return True

    def _pass_over(self, number: int, batch: Any) -> None:
        """Counts an iteration, for schedules, checkpoints and accumulation too, without training."""
        self.runner.call_hook('before_train_iter', batch_idx=number, data_batch=batch)
        self.runner.optim_wrapper.pass_over()
        self.runner.call_hook('after_train_iter', batch_idx=number, data_batch=batch, outputs=None)
        self._iter += 1

    def _go_back(self, due: RewindDue) -> None:
        """Restores a checkpoint, and notes which iterations to skip."""
        runner = self.runner
        state = GuardState.of(runner)  # the checkpoint's is older
        runner.optim_wrapper.zero_grad()
        checkpoint, first, end = due.args
        runner.resume(checkpoint)
        runner.optim_wrapper.initialize_count_status(runner.model, runner.iter, runner.max_iters)
        state.in_a_row, state.weights = 0, None
        state.rewinds += 1
        first = max(first, runner.iter)
        state.passed_over.append([first, end])
        state.keep(runner)
        runner.logger.warning(
            f'Rewound to {checkpoint!r}, before iteration {runner.iter + 1}. The batches of iterations '
            f'{first + 1} to {end} are skipped. This is rewind {state.rewinds} of the run.'
        )

    def _evaluate(self) -> None:
        self.runner.val_loop.run()
        self.runner.message_hub.update_info(_EVALUATED, self._iter)

    def _make_up(self) -> None:
        """Repeats an evaluation during or before which the run was stopped."""
        done = self.runner.message_hub.runtime_info.get(_EVALUATED)
        if self._iter and self._is_evaluation_due() and done != self._iter:
            self.runner.logger.info(
                f'The evaluation after iteration {self._iter} is missing in the checkpoint and runs now.'
            )
            self._evaluate()


@LOOPS.register_module()
class EpochLoop(_Resumable, EpochBasedTrainLoop):
    """MMEngine's loop over epochs, which resumes exactly in the middle of one.

    Samples of the epoch that were seen before the checkpoint are skipped without reading.
    """

    def run(self) -> Any:
        """Trains until the last epoch."""
        self.runner.call_hook('before_train')
        self._make_up()
        if self._epoch >= self._max_epochs:
            self.runner.logger.info(
                f'The run is complete: it has trained {self._epoch} epochs. Raise `train_cfg.max_epochs` to continue.'
            )
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            if self._is_evaluation_due():
                self._evaluate()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Trains the rest of an epoch; after a rewind, of the checkpoint's epoch."""
        while not self._train_to_the_end():
            pass
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _train_to_the_end(self) -> bool:
        """Trains the rest of the epoch. Returns False after a rewind."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        if done and isinstance(self.dataloader, SteadyLoader):
            self.dataloader.skip(done)
            if done < len(self.dataloader):
                self.runner.logger.info(f'Resumed at epoch {self._epoch + 1}, batch {done + 1}.')
        return all(
            self._train_or_pass_over(number, batch)
            for number, batch in enumerate(self.dataloader, start=done)
        )

    def _step(self, number: int, batch: Any) -> tuple[Any, ...]:
        return number, batch

    def _is_evaluation_due(self) -> bool:
        self._decide_current_val_interval()
        return (
            self.runner.val_loop is not None
            and self._iter == self._epoch * len(self.dataloader)
            and self._epoch >= self.val_begin
            and (self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs)
        )


class EndlessBatches:
    """Endless iterator over the epochs of a loader.

    Attributes:
        position: Number of complete epochs, and of batches in the next one.
    """

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader
        self.position = (0, 0)
        self._iterator: Iterator[Any] | None = None

    def go_to(self, epoch: int, batch: int) -> None:
        """Moves to a batch of an epoch."""
        self.position = (epoch, batch)
        self._iterator = None

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = self._begin()
        for batch in self._iterator:
            self.position = (self.position[0], self.position[1] + 1)
            return batch
        self.go_to(self.position[0] + 1, 0)
        return next(self)

    def _begin(self) -> Iterator[Any]:
        epoch, done = self.position
        loader: Any = self.loader
        for sampler in (loader.sampler, getattr(loader.batch_sampler, 'sampler', loader.sampler)):
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)
        if done and isinstance(self.loader, SteadyLoader):
            self.loader.skip(done)
        return iter(self.loader)


@LOOPS.register_module()
class IterLoop(_Resumable, IterBasedTrainLoop):
    """MMEngine's loop over iterations, which resumes exactly at any of them. Each epoch has its own order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batches = EndlessBatches(self.dataloader)

    def run(self) -> Any:
        """Trains until the last iteration."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        if self._iter and self.batches.position == (0, 0):
            self.batches.go_to(*divmod(self._iter, len(self.dataloader)))
        self._make_up()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            if not self._train_or_pass_over(self._iter, next(self.batches)):
                continue
            if self._is_evaluation_due():
                self._evaluate()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _step(self, number: int, batch: Any) -> tuple[Any, ...]:
        return (batch,)

    def _is_evaluation_due(self) -> bool:
        self._decide_current_val_interval()
        return (
            self.runner.val_loop is not None
            and self._iter >= self.val_begin
            and (self._iter % self.val_interval == 0 or self._iter == self._max_iters)
        )
