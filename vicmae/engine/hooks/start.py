# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Log lines at the start of training."""

import time
from datetime import timedelta
from typing import Any

from mmengine.hooks import Hook, LoggerHook

from vicmae.registry import HOOKS

from ..start_checks import check_evaluation_data, check_negatives, check_schedule


@HOOKS.register_module()
class StartCheckHook(Hook):
    """Warns before the first step of settings that train, but hardly as meant.

    These are learning-rate schedules that end before or after the run, and batches whose negatives are copies of one
    file. Data of an evaluation that lie elsewhere than those of training are reported. Every Runner has this hook;
    `default_hooks.start_check=None` leaves it out.
    """

    priority = 'LOW'

    def before_train(self, runner: Any) -> None:
        for text in (check_schedule(runner), check_negatives(runner)):
            if text:
                runner.logger.warning(text)
        text = check_evaluation_data(runner)
        if text:
            runner.logger.info(text)


@HOOKS.register_module()
class FirstStepHook(Hook):
    """Logs the first step of a run, so that one with few log lines doesn't look as if it hangs.

    Every Runner has this hook; `default_hooks.first_step=None` leaves it out.
    """

    priority = 'LOW'
    _began: float | None = None

    def before_train_epoch(self, runner: Any) -> None:
        """Starts the clock, before the workers of the loader start."""
        if self._began is None:
            self._began = self._computes = time.monotonic()
            self._done = any(h.interval == 1 for h in runner.hooks if isinstance(h, LoggerHook))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if not self._done:
            self._computes = time.monotonic()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Logs loss, duration and an estimate of what is left."""
        if self._done or self._began is None:
            return
        self._done = True
        loss = ''
        if isinstance(outputs, dict) and 'loss' in outputs:  # None for a skipped batch
            loss = f'loss {float(outputs["loss"].detach()):.4f}, '
        now = time.monotonic()
        waited, computed = self._computes - self._began, now - self._computes
        left = runner.max_iters - runner.iter - 1
        runner.logger.info(
            f'First step: {loss}{waited:.1f} s for the first batch and {computed:.1f} s to compute. {left:,} steps are '
            f'left: about {timedelta(seconds=round(left * computed))} if loading keeps up.'
        )
