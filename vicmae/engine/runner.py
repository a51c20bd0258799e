# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import inspect
import logging
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from vicmae.datasets.bad_files import BadFileLedger
from vicmae.datasets.loader import SteadyLoader
from vicmae.errors import ConfigError
from vicmae.models.algorithms import BasePretrainer
from vicmae.registry import HOOKS, MODEL_WRAPPERS, RUNNERS

from .sharding import FullyShard, cut_moments_on_loading, full_states

# What a config's data loaders take beside torch's options.
LOADER_OPTIONS = ('max_bad_fraction', 'sample_seconds')
_LONG = 12
_MMENGINES_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)
# What MMEngine says in every run and nobody can act on.
_NO_NEWS = ('"FileClient" will be', '"HardDiskBackend" is', 'Distributed training is not used')


@RUNNERS.register_module()
class PretrainRunner(Runner):
    """MMEngine's Runner, with what pretraining needs besides.

    It shows short messages on the console and everything in the log file (environment, config and the order of
    hooks are some six hundred lines at the start of each run), refuses a part without the hook that it needs,
    switches any default hook off by None, reads data with `SteadyLoader`, and compiles layer by layer. A model that
    `FullyShard` divides has the checkpoints of a whole one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self._train_loop is not None:
            self._require_hooks()

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """Leaves out what a config sets to None; MMEngine takes that for its own hooks only."""
        hooks = dict(hooks or {})
        for name in [n for n, hook in hooks.items() if hook is None and n not in _MMENGINES_HOOKS]:
            del hooks[name]
        super().register_default_hooks(hooks)

    def build_dataloader(  # MMEngine's is static and knows no work directory
        self,
        dataloader: DataLoader | dict[str, Any],
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Builds a loader that no bad file stops; `LOADER_OPTIONS` are ours, the rest torch's."""
        if isinstance(dataloader, DataLoader):
            return dataloader
        training = dataloader is self._train_dataloader
        options = {name: dataloader[name] for name in LOADER_OPTIONS if name in dataloader}
        rest = {name: dataloader[name] for name in dataloader if name not in LOADER_OPTIONS}
        if rest.get('batch_sampler'):  # torch takes this for a contradiction
            rest.pop('drop_last', None)
        loader = super().build_dataloader(rest, seed, diff_rank_seed)
        ledger = BadFileLedger(
            Path(self.work_dir) / 'bad_files.jsonl',
            max_fraction=options.pop('max_bad_fraction', 0.01),
            judged_from=min(1000, len(loader.dataset)),
        )
        return SteadyLoader.around(loader, ledger=ledger, replace=training, **options)

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: Any) -> Any:
        """Wraps the model; MMEngine looks in its own registry alone for the type."""
        if isinstance((model_wrapper_cfg or {}).get('type'), str):
            model_wrapper_cfg = dict(model_wrapper_cfg or {})
            model_wrapper_cfg['type'] = MODEL_WRAPPERS.get(model_wrapper_cfg['type'])
        return super().wrap_model(model_wrapper_cfg, model)

    def _init_model_weights(self) -> None:
        """Draws weights, except where `FullyShard` did before it divided them."""
        if not isinstance(self.model, FullyShard):
            super()._init_model_weights()

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Builds the optimiser, of which a divided model's loads the state of a whole one's."""
        built = super().build_optim_wrapper(optim_wrapper)
        if isinstance(self.model, FullyShard) and built is not optim_wrapper:
            cut_moments_on_loading(built.optimizer)
        return built

    def save_checkpoint(self, *args: Any, save_optimizer: bool = True, **kwargs: Any) -> None:
        """Writes a checkpoint on the first process, of what all of them bring together."""
        with full_states(self.model, self.optim_wrapper if save_optimizer else None):
            super().save_checkpoint(*args, save_optimizer=save_optimizer, **kwargs)

    def resume(self, *args: Any, **kwargs: Any) -> None:
        """Goes on from a checkpoint, of which a GPU with a share of the model gets its share alone."""
        if isinstance(self.model, FullyShard):
            kwargs.setdefault('map_location', 'cpu')
        super().resume(*args, **kwargs)

    def _require_hooks(self) -> None:
        """Refuses a part that only works together with a hook which isn't there."""
        for where, module in self.model.named_modules():
            hook = getattr(module, 'required_hook', None)
            if hook is not None and not any(isinstance(h, HOOKS.get(hook)) for h in self.hooks):
                raise ConfigError(
                    f"The model's `{where}` is {type(module).__name__}, which does nothing without the hook {hook}: "
                    f"add `dict(type='{hook}')` to `custom_hooks`."
                )

    def _maybe_compile(self, target: str) -> None:
        """Compiles the layers where the model can do that.

        MMEngine compiles the whole step, with the masks (drawn from another generator then), the loss weight
        (compiled anew whenever it changes) and the optimiser.
        """
        options = self.cfg.get('compile')
        known = list(inspect.signature(torch.compile).parameters)[1:]  # without the model
        if options not in (None, True, False) and not (
            isinstance(options, dict) and set(options) <= set(known)
        ):
            raise ConfigError(
                f'`compile` must be True, False or options of torch.compile ({", ".join(known)}), got {options}.'
            )
        model = self.model.module if is_model_wrapper(self.model) else self.model
        if not options or not isinstance(model, BasePretrainer):
            super()._maybe_compile(target)
            return
        number = model.compile_layers(**({} if options is True else options))
        self.logger.info(f'{number} transformer layers are compiled when they first run.')

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(_is_news)
        return logger


def _is_news(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    if record.levelno > logging.INFO and not message.startswith(_NO_NEWS):
        return True
    return message.count('\n') < _LONG and not message.startswith(_NO_NEWS)
