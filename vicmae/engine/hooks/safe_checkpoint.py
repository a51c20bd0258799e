# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook

from vicmae.checkpoints.last import LAST
from vicmae.checkpoints.write import remove_checkpoint, write_checkpoint, write_text
from vicmae.errors import CheckpointError, ConfigError
from vicmae.registry import HOOKS
from vicmae.utils.files import require_folder

WHEN_UNWRITTEN = ('continue', 'stop')
_KEPT = 'kept_checkpoints'


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """Writes checkpoints whole or not at all, each with its hash, and deletes an old one only after a new one.

    A checkpoint that is due while gradients are accumulated is written after the step of the optimizer.

    Args:
        args: Arguments of MMEngine's `CheckpointHook`, as `kwargs`.
        async_save: Whether training continues while a checkpoint is written. Its state is copied first, which takes as
            much memory again; the next one waits until it is written.
        when_unwritten: What to do if a checkpoint can't be written (a full disk, a missing folder): 'continue' to log
            an error, 'stop' to end the run. A failure at the last step always ends it.
        kwargs: Arguments of `CheckpointHook`: `interval`, `by_epoch`, `max_keep_ckpts`, `save_best`, ...
    """

    def __init__(
        self, *args: Any, async_save: bool = False, when_unwritten: str = 'continue', **kwargs: Any
    ) -> None:
        if when_unwritten not in WHEN_UNWRITTEN:
            raise ValueError(
                f"`when_unwritten` must be one of {', '.join(WHEN_UNWRITTEN)}, got '{when_unwritten}'."
            )
        super().__init__(*args, **kwargs)
        self.when_unwritten = when_unwritten
        self._thread = ThreadPoolExecutor(1, 'checkpoint') if async_save else None
        self._writing: Future[None] | None = None
        self._due: int | None = None  # number of the checkpoint to write after the optimizer's step
        self._saved_at = -1
        self._kept_before: list[str] = []

    def before_train(self, runner: Any) -> None:
        if '://' in str(self.out_dir or runner.work_dir):
            raise ConfigError(
                f'SafeCheckpointHook writes to folders, got `out_dir` {self.out_dir!r}. '
                "MMEngine's `CheckpointHook` writes to other places, less safely."
            )
        super().before_train(runner)
        if is_main_process():
            require_folder(Path(self.out_dir), 'default_hooks.checkpoint.out_dir')
        # Checkpoints in the folder of an earlier run are not this run's to delete.
        kept = runner.message_hub.runtime_info.get(_KEPT, [])
        here = [name for name in kept if Path(self.out_dir, name).exists()]
        runner.message_hub.update_info(_KEPT, here)

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        step = runner.iter + 1
        if not self.by_epoch:
            last = self.save_last and self.is_last_train_iter(runner)
            if last or self.every_n_train_iters(runner, self.interval, self.save_begin):
                self._due = step
        if self._due is not None and is_between_steps(runner):
            self.save(runner, self.filename_tmpl.format(self._due), epoch=runner.epoch, step=step)

    def after_train_epoch(self, runner: Any) -> None:
        if not self.by_epoch:
            return
        last = self.save_last and self.is_last_train_epoch(runner)
        if self.every_n_epochs(runner, self.interval, self.save_begin) or last:
            self._due = runner.epoch + 1
            if is_between_steps(runner):
                name = self.filename_tmpl.format(self._due)
                self.save(runner, name, epoch=runner.epoch + 1, step=runner.iter)

    def after_train(self, runner: Any) -> None:
        self._report(runner, self.finish)
        super().after_train(runner)

    def save(self, runner: Any, name: str, *, epoch: int, step: int) -> None:
        """Writes a checkpoint of the run's current state."""
        self._due = None
        self._saved_at = step
        runner.logger.info(f'Saving checkpoint {name} after {step} iterations')
        self._save_checkpoint_with_step(runner, name, dict(epoch=epoch, iter=step))

    def forget(self) -> None:
        """Forgets what is due and what is saved, for a rewind."""
        self._due, self._saved_at = None, -1

    def is_saved(self, step: int) -> bool:
        """Returns whether the last checkpoint is the one after this iteration."""
        return self._saved_at == step

    def _save_checkpoint_with_step(self, runner: Any, step: str | int, meta: Any) -> None:
        name = step if isinstance(step, str) else self.filename_tmpl.format(step)
        self._report(runner, self.finish)
        self._kept_before = runner.message_hub.get_info(_KEPT)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        kept = [kept for kept in self._kept_before if kept != name]
        limit = max(self.max_keep_ckpts - 1, 0) if self.max_keep_ckpts > 0 else len(kept)
        stale, kept = kept[: len(kept) - limit], kept[len(kept) - limit :]
        runner.message_hub.update_info(_KEPT, [*kept, name])
        # On all ranks: hooks may gather from them what they add to a checkpoint.
        checkpoint = runner.collect_checkpoint(
            meta, save_optimizer=self.save_optimizer, save_param_scheduler=self.save_param_scheduler
        )
        last_file = Path(runner.work_dir, LAST)
        stale = [str(Path(self.out_dir, name)) for name in stale]
        job = partial(write_and_tidy, checkpoint, self.last_ckpt, last_file, stale)
        if is_main_process():
            self._submit(runner, job, is_last=meta['iter'] >= runner.max_iters)

    def _save_best_checkpoint(self, runner: Any, metrics: dict[str, float]) -> None:
        """Writes a new best checkpoint before it deletes the last one."""
        if not self.save_best:
            return
        before = self._hide_best()
        try:
            super()._save_best_checkpoint(runner, metrics)
        except CheckpointError as error:
            if self.when_unwritten == 'stop':
                raise
            runner.logger.error(f'{error} Training continues without it.')
            self._show_best(runner, before)
            return
        after = self._hide_best()
        self._show_best(runner, {key: after[key] or before[key] for key in before})
        if is_main_process():
            for key, path in before.items():
                if path and after[key] not in (None, path):
                    remove_checkpoint(path)

    best_ckpt_path: str | None
    best_ckpt_path_dict: dict[str, str | None]

    def _hide_best(self) -> dict[str, str | None]:
        """Clears the paths of the best checkpoints: MMEngine deletes those before it writes new ones."""
        if len(self.key_indicators) == 1:
            paths = {self.key_indicators[0]: self.best_ckpt_path}
            self.best_ckpt_path = None
            return paths
        paths = dict(self.best_ckpt_path_dict)
        self.best_ckpt_path_dict = dict.fromkeys(paths)
        return paths

    def _show_best(self, runner: Any, paths: dict[str, str | None]) -> None:
        alone = len(paths) == 1
        for key, path in paths.items():
            if path:
                runner.message_hub.update_info('best_ckpt' if alone else f'best_ckpt_{key}', path)
        if alone:
            (self.best_ckpt_path,) = paths.values()
        else:
            self.best_ckpt_path_dict = dict(paths)

    def _submit(self, runner: Any, job: Callable[[], None], *, is_last: bool) -> None:
        """Runs a job now, or in the background; a failure is then reported with the next job."""
        if self._thread is None:
            self._report(runner, job, must_work=is_last)
        else:
            self._writing = self._thread.submit(job)
            if is_last:
                self._report(runner, self.finish, must_work=True)

    def finish(self) -> None:
        """Waits for the checkpoint that is being written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _report(self, runner: Any, job: Callable[[], None], *, must_work: bool = False) -> None:
        try:
            job()
        except CheckpointError as error:
            runner.message_hub.update_info(_KEPT, self._kept_before)
            self._saved_at = -1
            if must_work or self.when_unwritten == 'stop':
                raise
            runner.logger.error(f'{error} Training continues without it.')


def write_and_tidy(
    checkpoint: dict[str, Any], path: str, last_file: Path, stale: Sequence[str]
) -> None:
    """Writes a checkpoint, names it as the run's last, and then deletes those that it replaces."""
    write_checkpoint(path, checkpoint)
    try:
        write_text(last_file, str(path))
    except OSError as error:
        raise CheckpointError(
            f"Can't write {str(last_file)!r}: {error.strerror}. It names an earlier checkpoint still."
        ) from error
    for old in stale:
        remove_checkpoint(old)


def is_between_steps(runner: Any) -> bool:
    """Returns whether the optimizer has used all accumulated gradients."""
    return runner.optim_wrapper.should_update()
