# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Builds the Runner of a config on this machine."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from vicmae.checkpoints.read import require_checkpoint
from vicmae.config.check import places_of
from vicmae.datasets.samplers import MixtureSampler
from vicmae.engine.hardware import (
    adapt_to_cpu,
    choose_precision,
    choose_test_precision,
    let_device_skip,
)
from vicmae.engine.processes import init_after_restart, init_gloo
from vicmae.errors import ConfigError, VicmaeError
from vicmae.registry import RUNNERS
from vicmae.utils.demo_data import make_demo_data_of
from vicmae.utils.files import require_folder
from vicmae.utils.names import count_of

# Python's message about missing arguments.
_MISSING = re.compile(
    r'(\w+)\.__init__\(\) missing \d+ required (?:keyword-only|positional) arguments?: (.*)'
)


def build_runner(cfg: Config, *, training: bool) -> Runner:
    """Builds the Runner of a config with its data loaders, and fits it to the hardware.

    Mistakes in the config or its data raise one short error here.

    Args:
        cfg: The config, with `work_dir` and `launcher`.
        training: Whether to build the run's training and validation, or its test.
    """
    if training and not cfg.get('train_cfg'):
        raise ConfigError(
            f'The config {cfg.filename!r} trains nothing: it has no `train_cfg`. `vicmae test CONFIG CHECKPOINT` '
            'measures a checkpoint with it.'
        )
    dist_cfg = (cfg.get('env_cfg') or {}).get('dist_cfg') or {}
    launcher = cfg.get('launcher', 'none')
    if not torch.cuda.is_available():
        adapt_to_cpu(cfg)
        init_gloo(launcher, dist_cfg)
    else:
        init_after_restart(launcher, dist_cfg)
        if training:
            choose_precision(cfg)
            let_device_skip(cfg)
        else:
            choose_test_precision(cfg)
    if cfg.get('load_from') and '://' not in cfg.load_from:
        require_checkpoint(cfg.load_from)
    if not training:
        cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    _drop_partial_evaluations(cfg)
    require_folder(Path(cfg.work_dir), '--work-dir')
    share_sampler_seed(cfg)
    cfg.setdefault('runner_type', 'VicmaeRunner')
    with explained_errors(f'The config {cfg.filename!r}', cfg):
        runner = RUNNERS.build(cfg)  # with the model, whose faults show at once
        make_demo_data_of(cfg)
        if training:
            runner.train_loop  # noqa: B018  a property that builds the loader
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
            _check_batches(runner)
            _log_start(runner)
            if cfg.get('val_dataloader'):
                runner.val_loop  # noqa: B018
        else:
            runner.test_loop  # noqa: B018
    return runner


def _drop_partial_evaluations(cfg: Config) -> None:
    """Sets all three settings of an evaluation to None if one is: MMEngine refuses anything between."""
    for name in ('val', 'test'):
        keys = [f'{name}_dataloader', f'{name}_evaluator', f'{name}_cfg']
        if any(key in cfg and cfg[key] is None for key in keys):
            cfg.merge_from_dict(dict.fromkeys(keys))


def share_sampler_seed(cfg: Config) -> None:
    """Gives the sampler the run's seed.

    If each rank has its own seed, MMEngine draws another one, which depends on what was drawn before.
    """
    seed = (cfg.get('randomness') or {}).get('seed')
    sampler = (cfg.get('train_dataloader') or {}).get('sampler') or {}
    if seed is not None and sampler.get('type') == 'MixtureSampler':
        sampler.setdefault('seed', seed)


def _check_batches(runner: Runner) -> None:
    """Refuses an epoch without batches, and batches of one sample for a model with batch norm."""
    loader = runner.train_dataloader
    batches = loader.batch_sampler
    samples, size = len(batches.sampler), batches.batch_size
    if len(loader) == 0:
        raise ConfigError(no_batch_text(loader, runner.world_size))
    smallest = size if batches.drop_last else samples % size or size
    if smallest == 1 and any(isinstance(m, _BatchNorm) for m in runner.model.modules()):
        raise ConfigError(
            f'An epoch of {samples} samples on each process, cut by `train_dataloader.batch_size` {size}, has a '
            'batch of one, and the batch norm of this model needs two. Change `batch_size`, or take other norms: '
            '`model.predictor.norm=LN model.target.head.norm=LN`.'
        )


def no_batch_text(loader: DataLoader, world_size: int = 1) -> str:
    """Returns the message for a loader whose epoch is shorter than a batch."""
    batches: Any = loader.batch_sampler
    samples, ranks = len(batches.sampler), count_of(world_size, 'process', 'processes')
    return (
        f'An epoch has {count_of(samples, "sample")} on each of {ranks}, not one batch of {batches.batch_size}. Lower '
        '`train_dataloader.batch_size`, add data, or raise `train_dataloader.sampler.samples_per_epoch`.'
    )


def _log_start(runner: Runner) -> None:
    loader = runner.train_dataloader
    dataset = loader.dataset
    named = zip(getattr(dataset, 'sizes', ()), getattr(dataset, 'names', ()), strict=True)
    texts = [f'{size:,} {name}' for size, name in named] or [f'{len(dataset):,} samples']
    sampler = loader.batch_sampler.sampler
    if isinstance(sampler, MixtureSampler):
        visits = [
            f'{count / max(size, 1):.2g}'
            for count, size in zip(sampler.counts, sampler.sizes, strict=True)
        ]
        texts = [
            text if number == '1' else f'{text} ({number} visits each)'
            for text, number in zip(texts, visits, strict=True)
        ]
    sources = ', '.join(texts)
    runner.logger.info(
        f'Training on {sources}: {count_of(len(loader), "batch", "batches")} of {loader.batch_sampler.batch_size} '
        f'an epoch on each of {count_of(runner.world_size, "process", "processes")}. Config, environment and log: '
        f'{runner.log_dir}'
    )


@contextmanager
def explained_errors(what: str, cfg: Config) -> Iterator[None]:
    """Turns the errors of building a config's parts into a ConfigError."""
    try:
        yield
    except VicmaeError:
        raise
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise ConfigError(f"{what} can't be built. {_what_is_wrong(error, cfg)}") from error


def _what_is_wrong(error: Exception, cfg: Config) -> str:
    """Returns the message of an error, or which option sets a missing argument."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    missing = _MISSING.search(text)
    if isinstance(error, TypeError) and missing:
        names = re.findall(r"'(\w+)'", missing[2])
        for place, node in places_of(cfg, missing[1]):
            options = ' '.join(f'{place}.{name}=' for name in names if name not in node)
            if options:
                needed = ', '.join(f'`{name}`' for name in names)
                return f'`{node.get("type", missing[1])}` needs {needed}: set `{options}`.'
    return text or type(error).__name__
