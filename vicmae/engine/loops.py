# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from mmengine.runner import EpochBasedTrainLoop

from vicmae.datasets.loader import SteadyLoader
from vicmae.registry import LOOPS


@LOOPS.register_module()
class PretrainLoop(EpochBasedTrainLoop):
    """MMEngine's loop over epochs, which also goes on in the middle of one.

    The samples of an epoch follow from its number alone, so that those which were seen before a checkpoint are passed
    over without being read. Needs a checkpoint of that kind: `default_hooks.checkpoint.by_epoch=False`.
    """

    def run_epoch(self) -> None:
        """Trains one epoch, or what is left of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        if done and isinstance(self.dataloader, SteadyLoader):
            self.dataloader.skip(done)
            self.runner.logger.info(f'Going on in epoch {self._epoch + 1}, at batch {done + 1}.')
        for number, batch in enumerate(self.dataloader, start=done):
            self.run_iter(number, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
