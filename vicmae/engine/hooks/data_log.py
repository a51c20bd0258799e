# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections import Counter
from typing import Any

from mmengine.hooks import Hook

from vicmae.datasets.loader.steady import SteadyLoader
from vicmae.registry import HOOKS
from vicmae.utils.distributed import GatherOnCPU

_STATE = 'data_seen'


@HOOKS.register_module()
class DataLogHook(Hook):
    """Logs how many samples the run has read by source, bad ones, and notes of transforms.

    There is a log line after each epoch, and curves (`data/...`). A note is logged once, after the first epoch that has
    it. Counts are of all processes together and continue after a resume on any number of them.

    Args:
        interval: Steps between two points of the curves.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f'`interval` must be at least 1 step, got {interval}.')
        self.interval = interval
        self._before: dict[str, Counter[str]] = {}
        self._logged: set[str] = set()  # notes
        self._gather: GatherOnCPU

    def before_train(self, runner: Any) -> None:
        state = runner.message_hub.runtime_info.get(_STATE) or {}
        self._before = {name: Counter(counts) for name, counts in state.items()}
        self._logged = set(self._before.get('notes', ()))
        self._gather = GatherOnCPU()

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        loader = runner.train_dataloader
        if isinstance(loader, SteadyLoader) and self.every_n_train_iters(runner, self.interval):
            counts = self._counts(loader)
            curves = {f'data/{name}': count for name, count in counts['seen'].items()}
            curves['data/bad'] = counts['bad'].get('samples', 0)
            runner.visualizer.add_scalars(curves, step=runner.iter + 1)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        if isinstance(runner.train_dataloader, SteadyLoader):
            counts = self._counts(runner.train_dataloader)
            runner.message_hub.update_info(_STATE, counts)
            checkpoint['message_hub']['runtime_info'][_STATE] = counts

    def after_train_epoch(self, runner: Any) -> None:
        if not isinstance(runner.train_dataloader, SteadyLoader):
            return
        counts = self._counts(runner.train_dataloader)
        seen = ', '.join(f'{count:,} {name}' for name, count in counts['seen'].items())
        line = [f'Visits so far: {seen}.']
        if counts['bad']:
            line.append(f'{counts["bad"]["samples"]:,} could not be read: others took their place.')
        runner.logger.info(' '.join(line))
        for note, count in counts['notes'].items():
            if note not in self._logged:
                runner.logger.info(f'In the data so far, {count:,} x {note}. This is logged once.')
                self._logged.add(note)

    def _counts(self, loader: SteadyLoader) -> dict[str, dict[str, int]]:
        """Counts since the run began, before a resume too. All ranks have to call it."""
        now = dict(
            seen=loader.seen,
            bad=Counter(samples=loader.ledger.num_bad) if loader.ledger.num_bad else Counter(),
            notes=loader.notes,
        )
        ranks = self._gather(now)
        return {
            name: dict(sum((rank[name] for rank in ranks), self._before.get(name, Counter())))
            for name in now
        }
