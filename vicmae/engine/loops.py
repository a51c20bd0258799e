# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from typing import Any

from mmengine.runner import EpochBasedTrainLoop

from vicmae.datasets.loader import SteadyLoader
from vicmae.registry import LOOPS

from .guard_state import GuardState
from .rewind import Rewind, RewindDue, go_back, pass_over


@LOOPS.register_module()
class PretrainLoop(EpochBasedTrainLoop):
    """MMEngine's loop over epochs, which also goes on in the middle of one.

    The samples of an epoch follow from its number alone, so that those which were seen before a checkpoint are passed
    over without being read. Needs a checkpoint of that kind: `default_hooks.checkpoint.by_epoch=False`.

    It also goes back to a checkpoint where `StepGuardHook` asks for it.
    """

    def run_epoch(self) -> None:
        """Trains one epoch, or what is left of it; after a rewind, the one of the checkpoint."""
        while (rewind := self._train_to_the_end()) is not None:
            go_back(self.runner, rewind)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Trains one step, or passes it over."""
        if not GuardState.of(self.runner).passes_over(self._iter):
            super().run_iter(idx, data_batch)
            return
        pass_over(self.runner, idx, data_batch)
        self._iter += 1

    def _train_to_the_end(self) -> Rewind | None:
        """Trains what is left of the epoch, or until a rewind is due, which it returns."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        if done and isinstance(self.dataloader, SteadyLoader):
            self.dataloader.skip(done)
            self.runner.logger.info(f'Going on in epoch {self._epoch + 1}, at batch {done + 1}.')
        try:
            for number, batch in enumerate(self.dataloader, start=done):
                self.run_iter(number, batch)
        except RewindDue as due:
            return due.rewind
        return None
