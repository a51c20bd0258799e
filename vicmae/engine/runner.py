# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import copy
import inspect
import logging
import re
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub, MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner
from mmengine.visualization import LocalVisBackend, Visualizer
from torch.utils.data import DataLoader

from vicmae.checkpoints.fit import load_weights, reading_nothing
from vicmae.checkpoints.read import find_weights, load_checkpoint
from vicmae.checkpoints.state import shard_moments_on_loading, whole_state
from vicmae.checkpoints.write import as_plain, restore_histories, write_checkpoint
from vicmae.datasets.bad_files import BadFileLedger
from vicmae.datasets.loader.build import build_loader
from vicmae.errors import CheckpointError, ConfigError, DataError
from vicmae.evaluation.evaluator import ProbeEvaluator
from vicmae.models.feature_model import FeatureModel
from vicmae.registry import HOOKS, MODEL_WRAPPERS, RUNNERS
from vicmae.utils.distributed import unwrapped
from vicmae.utils.names import count_of
from vicmae.version import __version__

from .hooks.checkpoint_fit import CheckpointFitHook
from .hooks.start import FirstStepHook, StartCheckHook
from .message_hub import DeferredMessageHub
from .position import Position, adopt_position, agree_on_last_checkpoint, position_of
from .sharding import FullyShard

_LONG = 12
_THEIR_HOOKS = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
_OUR_HOOKS = {
    'start_check': dict(type=StartCheckHook),
    'first_step': dict(type=FirstStepHook),
}
# Messages of MMEngine in every run that nobody can act on.
_NO_NEWS = ('"FileClient" will be', '"HardDiskBackend" is', 'Distributed training is not used')
# Others whose content is in the first lines of the log, or in our own message.
_REPEATED = ('Exp name: ', 'resumed epoch: ')
_EQUAL_RATES = re.compile(r'\bbase_lr: (\S+) lr: \1 ')


@RUNNERS.register_module()
class VicmaeRunner(Runner):
    """MMEngine's Runner for pretraining.

    It reads data with `SteadyLoader`, writes and reads checkpoints of tensors and plain values only (whole ones for a
    sharded model, too), and compiles layer by layer. The console shows short messages only, the log file all. None
    switches any default hook off; a part without the hook that it needs is refused.
    """

    _resume: bool
    _load_from: str | None
    _resuming = False
    _role = ''  # 'train', 'val' or 'test' while that loop is built

    def __init__(self, *args: Any, randomness: dict[str, Any] | None = None, **kwargs: Any) -> None:
        # MMEngine's default is one dict for all Runners of a process, and a resume writes its seed into it.
        super().__init__(*args, randomness=dict(randomness or dict(seed=None)), **kwargs)
        self._config_text = self.cfg.pretty_text  # takes a while
        self.schedule_settings = copy.deepcopy(self.param_schedulers)  # before they are built
        if self._train_loop is not None:
            self._require_hooks()

    def train(self) -> Any:
        with warnings.catch_warnings():
            # Schedules are also stepped where the optimizer is not: in accumulated or skipped steps, and on resuming.
            warnings.filterwarnings('ignore', 'Detected call of .*scheduler')
            return super().train()

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """Adds our own hooks, and leaves out those that are None in the config; MMEngine does that for its own only."""
        hooks = {**_OUR_HOOKS, **(hooks or {})}
        kept = {n: hook for n, hook in hooks.items() if hook is not None or n in _THEIR_HOOKS}
        super().register_default_hooks(kept)

    def build_dataloader(  # MMEngine's is static and knows no work directory
        self,
        dataloader: DataLoader | dict[str, Any],
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Builds a loader that skips bad files, and lists them in the work directory."""
        if isinstance(dataloader, DataLoader):
            return dataloader
        # Compared by value: hooks and subclasses make copies of a loader's config.
        role = self._role or next(
            (r for r in ('train', 'val') if dataloader == getattr(self, f'_{r}_dataloader')), 'test'
        )
        try:
            loader = build_loader(
                dataloader,
                seed=seed,
                diff_rank_seed=diff_rank_seed,
                replace=role == 'train',
                # A sharded model needs as many forward passes, of as many samples, on each rank.
                stand_ins=role != 'train' and isinstance(self.model, FullyShard),
            )
        except DataError as error:
            hint = ' `--no-validate` trains without evaluation.' if role == 'val' else ''
            raise DataError(f'`{role}_dataloader`, {error}{hint}') from error
        dataset: Any = loader.dataset
        visits = getattr(dataset, 'visits_per_opening', 1)
        most_visits = max(visits) if isinstance(visits, Sequence) else visits
        loader.ledger = BadFileLedger(
            Path(self.work_dir) / 'bad_files.jsonl',
            max_fraction=dataloader.get('max_bad_fraction', 0.01),
            # A bad file costs as many samples as it has visits.
            judged_from=min(1000, len(dataset)) * most_visits,
            option=f'{role}_dataloader.max_bad_fraction',
        )
        return loader

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """Builds an evaluator in which one probe that can't be measured doesn't end the others."""
        built = super().build_evaluator(evaluator)
        return ProbeEvaluator(built.metrics) if type(built) is Evaluator else built

    def build_train_loop(self, loop: Any) -> BaseLoop:
        return self._build_loop('train', loop)

    def build_val_loop(self, loop: Any) -> BaseLoop:
        return self._build_loop('val', loop)

    def build_test_loop(self, loop: Any) -> BaseLoop:
        return self._build_loop('test', loop)

    def _build_loop(self, role: str, loop: Any) -> BaseLoop:
        """Builds a loop, and passes its role to `build_dataloader`."""
        self._role = role
        try:
            return getattr(super(), f'build_{role}_loop')(loop)
        finally:
            self._role = ''

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: Any) -> Any:
        """Wraps the model; MMEngine looks for the type in its own registry only."""
        if model_wrapper_cfg and isinstance(model_wrapper_cfg.get('type'), str):
            wrapper = MODEL_WRAPPERS.get(model_wrapper_cfg['type'])
            model_wrapper_cfg = {**model_wrapper_cfg, 'type': wrapper}
            if wrapper is FullyShard:  # it draws weights
                self._choose_checkpoint()
        with self._without_pretrained():
            return super().wrap_model(model_wrapper_cfg, model)

    def _init_model_weights(self) -> None:
        """Draws weights, unless `FullyShard` did before it sharded them."""
        self._choose_checkpoint()
        if not isinstance(self.model, FullyShard):
            with self._without_pretrained():
                super()._init_model_weights()

    def _without_pretrained(self) -> AbstractContextManager[None]:
        """Skips pretrained weights if the run resumes: their files may be gone."""
        resumes = self._resume and self._load_from is not None
        return reading_nothing() if resumes else nullcontext()

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Builds the optimizer; that of a sharded model can load the state of a whole one."""
        built = super().build_optim_wrapper(optim_wrapper)
        if isinstance(self.model, FullyShard) and built is not optim_wrapper:
            shard_moments_on_loading(built.optimizer)
        return built

    def collect_checkpoint(
        self,
        meta: dict[str, Any] | None = None,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
    ) -> dict[str, Any]:
        """Copies the state that a run resumes from, as tensors on the CPU and plain values.

        All ranks have to call it; that of the first is written. `epoch` and `iter` in `meta` count complete ones.
        """
        self.call_hook('before_collect_checkpoint')
        meta = {'epoch': self.epoch, 'iter': self.iter, **(meta or {})}
        meta.update(
            cfg=self._config_text,
            seed=self.seed,
            experiment_name=self.experiment_name,
            time=time.strftime('%Y%m%d_%H%M%S'),
            mmengine_version=mmengine.__version__,
            vicmae_version=__version__,
            dataset_meta=getattr(self.train_dataloader.dataset, 'metainfo', None),
            position=position_of(self, meta['epoch'], meta['iter'])._asdict(),
        )
        checkpoint: dict[str, Any] = dict(
            meta=meta,
            message_hub=self.message_hub.state_dict(),
            **whole_state(self.model, self.optim_wrapper if save_optimizer else None),
        )
        if save_param_scheduler and self.param_schedulers is not None:
            checkpoint['param_schedulers'] = [s.state_dict() for s in self.param_schedulers]
        self.call_hook('before_save_checkpoint', checkpoint=checkpoint)
        return as_plain(checkpoint) if self.rank == 0 else checkpoint

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        **options: Any,
    ) -> None:
        """Writes a checkpoint into a folder, whole or not at all. MMEngine's options for remote storage do nothing."""
        # As in MMEngine, it is called after an epoch or a batch but before that is counted.
        done = dict(epoch=self.epoch + by_epoch, iter=self.iter + (not by_epoch))
        meta = {**done, **(meta or {})}
        checkpoint = self.collect_checkpoint(
            meta, save_optimizer=save_optimizer, save_param_scheduler=save_param_scheduler
        )
        if self.rank == 0:
            write_checkpoint(Path(out_dir, filename), checkpoint)

    def load_or_resume(self) -> None:
        """Loads weights, or resumes, by default from the run's last checkpoint that is whole."""
        self._choose_checkpoint()
        super().load_or_resume()

    def _choose_checkpoint(self) -> None:
        """Finds the checkpoint to resume from if none is named."""
        if self._resume and self._load_from is None and not self._has_loaded:
            last = agree_on_last_checkpoint(self.work_dir)
            if last is None:
                self.logger.info(
                    f'Nothing to resume in {self.work_dir!r}: starting from the beginning.'
                )
            self._resume, self._load_from = last is not None, last

    def load_checkpoint(self, filename: str, map_location: Any = 'cpu', **_: Any) -> dict[str, Any]:
        """Loads a checkpoint's weights by `load_weights`, and returns all of its content."""
        checkpoint = load_checkpoint(filename, map_location)
        if self._resuming and not {'meta', 'message_hub'} <= set(checkpoint):
            raise CheckpointError(
                f'{filename!r} holds weights alone, not the state that a run resumes from. '
                f'Begin a run from them with `--cfg-options load_from={filename}`, without `--resume`.'
            )
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_weights(
            self.model,
            find_weights(checkpoint, repr(filename))[0],
            source=repr(filename),
            strict=all(h.strict for h in self.hooks if isinstance(h, CheckpointFitHook)),
            advice='Use the config that it was trained with, or load what fits: '
            '`default_hooks.checkpoint_fit.strict=False`.',
        )
        self._has_loaded = True
        restore_histories(checkpoint)
        self._loaded_meta = checkpoint.get('meta') or {}
        return checkpoint

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Resumes from a checkpoint, also on another number of ranks."""
        built = isinstance(self.optim_wrapper, OptimWrapper)
        groups = self.optim_wrapper.param_groups if built else []
        initial = [{k: v for k, v in g.items() if k.startswith('initial_')} for g in groups]
        self._resuming = True
        if isinstance(self.model, FullyShard):  # a GPU gets its share alone
            kwargs.setdefault('map_location', 'cpu')
        try:
            super().resume(filename, *args, **kwargs)
        finally:
            self._resuming = False
        position = self._loaded_meta.get('position')
        if position:
            adopt_position(self, Position(**position), initial)
        epochs = self.iter // len(self.train_dataloader)
        self.logger.info(
            f'Resumed {filename!r} after {count_of(epochs, "epoch")}, at iteration {self.iter} of {self.max_iters}.'
        )

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Scales the learning rate to the samples of a step, of all ranks and accumulated batches."""
        accumulated = getattr(optim_wrapper, '_accumulative_counts', 1)
        if auto_scale_lr and auto_scale_lr.get('enable') and accumulated > 1:
            base = auto_scale_lr['base_batch_size'] / accumulated
            auto_scale_lr = {**auto_scale_lr, 'base_batch_size': base}
            self.logger.info(f'{accumulated} batches are accumulated to a step.')
        super().scale_lr(optim_wrapper, auto_scale_lr)

    def _require_hooks(self) -> None:
        """Refuses a part of the model without the hook that it needs."""
        for where, module in self.model.named_modules():
            hook = getattr(module, 'required_hook', None)
            if hook is not None and not any(isinstance(h, HOOKS.get(hook)) for h in self.hooks):
                raise ConfigError(
                    f"The model's `{where}` is {type(module).__name__}, which does nothing without the hook {hook}: "
                    f"add `dict(type='{hook}')` to `custom_hooks`."
                )

    def _maybe_compile(self, target: str) -> None:
        """Compiles the layers if the model supports that.

        MMEngine compiles the whole step: masks come from another generator then, and each loss weight compiles again.
        """
        options = self.cfg.get('compile')
        known = list(inspect.signature(torch.compile).parameters)[1:]  # without the model
        named = isinstance(options, dict) and set(options) <= set(known)
        if not named and options not in (None, True, False):
            raise ConfigError(
                f'`compile` must be True, False or options of torch.compile ({", ".join(known)}), got {options}.'
            )
        model = unwrapped(self.model)
        if not options or not isinstance(model, FeatureModel):
            super()._maybe_compile(target)
            return
        number = model.compile_layers(**({} if options is True else options))
        self.logger.info(f'{number} transformer layers are compiled when they first run.')

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        logger.addFilter(_without_repetition)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                # logging's own prints a traceback each time.
                handler.handleError = lambda record: _say_once()  # type: ignore[method-assign]
            else:
                handler.addFilter(_is_news)
        return logger

    def build_message_hub(self, message_hub: dict[str, Any] | None = None) -> MessageHub:
        """Builds a hub in which logged tensors stay on their device until the log is written."""
        settings = {'name': self._experiment_name, **(message_hub or {})}
        return DeferredMessageHub.get_instance(**settings)

    def build_visualizer(self, *args: Any, **kwargs: Any) -> Visualizer:
        visualizer = super().build_visualizer(*args, **kwargs)
        for backend in visualizer._vis_backends.values():
            if isinstance(backend, LocalVisBackend):
                backend._dump = _forgiving(backend._dump)
        return visualizer


def _forgiving(write: Callable[..., None]) -> Callable[..., None]:
    """Wraps a writer of curves so that an error, such as a full disk, doesn't end the run."""

    def write_or_say(*args: Any) -> None:
        try:
            write(*args)
        except OSError:
            _say_once()

    return write_or_say


def _say_once() -> None:
    """Reports the error that is being handled, each message once."""
    _say(str(sys.exc_info()[1]))


@cache
def _say(error: str) -> None:
    text = f"Can't write the log or its curves: {error}. Training continues without it."
    print(text, file=sys.stderr)


def _without_repetition(record: logging.LogRecord) -> bool:
    """Leaves out messages of MMEngine that repeat others, and the base learning rate where it equals the other."""
    if isinstance(record.msg, str):
        record.msg = _EQUAL_RATES.sub(r'lr: \1 ', record.msg)
    return not record.getMessage().startswith(_REPEATED)


def _is_news(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    short = message.count('\n') < _LONG or record.levelno > logging.INFO
    return short and not message.startswith(_NO_NEWS)
