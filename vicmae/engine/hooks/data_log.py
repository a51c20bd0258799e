# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections import Counter
from typing import Any

from mmengine.hooks import Hook

from vicmae.datasets.loader import SteadyLoader
from vicmae.registry import HOOKS

_STATE = 'data_seen'


@HOOKS.register_module()
class DataLogHook(Hook):
    """Tells what the run has been fed: samples by source, bad ones, and what transforms had to note.

    A line in the log after each epoch, and curves (`data/...`) every few steps. The counts are this process's own and
    go on after a resume.

    Args:
        interval: Steps between two points of the curves.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f'`interval` must be at least 1 step, got {interval}.')
        self.interval = interval
        self._before: dict[str, Counter[str]] = {}

    def before_train(self, runner: Any) -> None:
        state = runner.message_hub.runtime_info.get(_STATE) or {}
        self._before = {name: Counter(counts) for name, counts in state.items()}

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        loader = runner.train_dataloader
        if not isinstance(loader, SteadyLoader):
            return
        counts = self._counts(loader)
        runner.message_hub.update_info(_STATE, counts)
        if self.every_n_train_iters(runner, self.interval):
            curves = {f'data/{name}': count for name, count in counts['seen'].items()}
            curves['data/bad'] = counts['bad'].get('samples', 0)
            runner.visualizer.add_scalars(curves, step=runner.iter + 1)

    def after_train_epoch(self, runner: Any) -> None:
        loader = runner.train_dataloader
        if not isinstance(loader, SteadyLoader):
            return
        counts = self._counts(loader)
        seen = ', '.join(f'{count:,} {name}' for name, count in counts['seen'].items())
        line = [f'Seen so far: {seen}.']
        if counts['bad']:
            line.append(f'{counts["bad"]["samples"]:,} could not be read: others took their place.')
        line += [f'{count:,} x {what}.' for what, count in counts['notes'].items()]
        runner.logger.info(' '.join(line))

    def _counts(self, loader: SteadyLoader) -> dict[str, dict[str, int]]:
        """All counts since the run began, also before a resume."""
        now = dict(
            seen=loader.seen,
            bad=Counter(samples=loader.ledger.num_bad) if loader.ledger.num_bad else Counter(),
            notes=loader.notes,
        )
        return {name: dict(self._before.get(name, Counter()) + now[name]) for name in now}
