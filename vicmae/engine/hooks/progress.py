# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import atexit
import logging
import sys
import time
from contextlib import suppress
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vicmae.errors import DataError
from vicmae.registry import HOOKS
from vicmae.structures import as_batch

_SECONDS_PER_LOSS = 1.0


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows a live bar with samples per second and time left, on a terminal only. Log lines scroll above it."""

    priority = 'LOW'

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._streams: list[tuple[logging.StreamHandler, Any]] = []
        self._tasks: dict[str, Any] = {}
        self._last = 0.0
        self._meters: dict[str, list[float]] = {}  # by task: seconds, samples
        self._next_loss = 0.0
        self._shown_loss = ''

    def before_train(self, runner: Any) -> None:
        self._start(runner)
        self._add_task('train', total=runner.max_iters, completed=runner.iter)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        what = f'epoch {runner.epoch + 1}/{runner.max_epochs}' if runner.max_epochs else 'train'
        self._advance('train', data_batch, runner, what + self._loss_text(outputs))

    def after_train(self, runner: Any) -> None:
        self.stop()

    def before_val(self, runner: Any) -> None:
        self._add_task('val', total=len(runner.val_dataloader))

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._advance('val', data_batch, runner, 'features')

    def after_val(self, runner: Any) -> None:
        self._remove('val')

    def before_test(self, runner: Any) -> None:
        self._start(runner)
        self._add_task('test', total=len(runner.test_dataloader))

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._advance('test', data_batch, runner, 'features')

    def after_test(self, runner: Any) -> None:
        self.stop()

    def stop(self) -> None:
        """Removes the bar and restores the logger's streams."""
        if self._progress is None:
            return
        self._progress.stop()
        self._progress = None
        for handler, stream in self._streams:
            handler.setStream(stream)
        self._streams.clear()
        self._tasks.clear()

    def _start(self, runner: Any) -> None:
        console = Console(stderr=True)
        if self._progress or not console.is_terminal or not is_main_process():
            return
        self._progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn('{task.fields[rate]}'),
            TextColumn('left'),
            TimeRemainingColumn(compact=True),
            console=console,
            expand=True,
        )
        terminal = (sys.stdout, sys.stderr)
        for handler in runner.logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream in terminal:
                self._streams.append((handler, handler.stream))
                handler.setStream(FileProxy(console, handler.stream))
        self._progress.start()
        atexit.register(self.stop)  # shows the cursor again after an exception or Ctrl-C

    def _add_task(self, name: str, total: int, completed: int = 0) -> None:
        if self._progress is None:
            return
        self._remove(name)
        task = self._progress.add_task('starting', total=total, completed=completed, rate='')
        self._tasks[name] = task
        self._meters[name] = [0.0, 0.0]
        self._last = time.monotonic()

    def _advance(self, name: str, data_batch: Any, runner: Any, what: str) -> None:
        if self._progress is None or name not in self._tasks:
            return
        meter, now = self._meters[name], time.monotonic()
        # Since any task advanced: the time of an evaluation is not training's.
        meter[0] += now - self._last
        with suppress(DataError):  # a batch of the user's own kind: no samples are counted
            meter[1] += len(as_batch(data_batch))
        self._last = now
        rate = f'{meter[1] * runner.world_size / max(meter[0], 1e-9):.0f}/s'
        self._progress.update(self._tasks[name], advance=1, description=what, rate=rate)

    def _loss_text(self, outputs: dict[str, Any] | None) -> str:
        """Returns the loss, read at most once a second: reading it waits for the device."""
        now = time.monotonic()
        if self._progress and outputs and 'loss' in outputs and now >= self._next_loss:
            self._next_loss = now + _SECONDS_PER_LOSS
            self._shown_loss = f'  loss {float(outputs["loss"].detach()):.3f}'
        return self._shown_loss

    def _remove(self, name: str) -> None:
        if self._progress is not None and name in self._tasks:
            self._progress.remove_task(self._tasks.pop(name))
