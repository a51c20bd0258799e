# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""How fast the data of a config come: of each source alone, and as training mixes them."""

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import chain

from mmengine.config import Config

from vicmae.apis.train_data import batches_of, build_train_loader, require_train_data, sources_of
from vicmae.errors import ConfigError

from .rate import samples_per_second
from .stages import load_for, measure_stages
from .text import SourceSpeed
from .trials import advise

_SAMPLES = 100_000  # in an epoch: a small set would end before it is measured


def source_names(cfg: Config, only: str | None = None) -> list[str]:
    """Names of the sources that a config's training data have.

    Args:
        cfg: The config.
        only: One of them, or None for all.
    """
    require_train_data(cfg)
    sources = cfg.train_dataloader.dataset.get('sources') or {'samples': True}
    names = [name for name, source in sources.items() if source is not None]
    if only is not None and only not in names:
        raise ConfigError(f'`--source` must be one of {", ".join(names)}, got {only!r}.')
    return names if only is None else [only]


def measure_source(
    cfg: Config,
    name: str,
    *,
    num_workers: int | None,
    batch_size: int,
    seconds: float,
    trials: bool = True,
    report: Callable[[float], None] = lambda share: None,
) -> SourceSpeed:
    """Measures one source alone: its rate, where the time goes, and what would help.

    Args:
        cfg: The config.
        name: Of the source.
        num_workers: In the place of the config's.
        batch_size: Samples in a batch.
        seconds: Time of each measurement.
        trials: Whether to try changes.
        report: Called now and then with the share that is done.
    """
    loader = build_train_loader(_alone(_endless(cfg, batch_size), name), num_workers=num_workers)
    rate = samples_per_second(loader, seconds, report=lambda share: report(share / 2))
    (source,) = sources_of(loader.dataset).values()
    groups, samples = load_for(seconds / 3, source, chain.from_iterable(batches_of(loader)))
    report(0.6)
    stages = measure_stages(source, groups, samples, loader.collate_fn)
    report(0.8)
    speed = SourceSpeed(name, len(source), rate, loader.num_workers, stages, advice=())
    if not trials:
        return speed
    return replace(speed, advice=advise(source, stages, groups, speed.whole))


def measure_mixture(
    cfg: Config,
    *,
    num_workers: int | None,
    batch_size: int,
    seconds: float,
    report: Callable[[float], None] = lambda share: None,
) -> float:
    """Samples per second of all sources together.

    Args:
        cfg: The config.
        num_workers: In the place of the config's.
        batch_size: Samples in a batch.
        seconds: Time of the measurement.
        report: Called now and then with the share that is done.
    """
    loader = build_train_loader(_endless(cfg, batch_size), num_workers=num_workers)
    return samples_per_second(loader, seconds, report=report)


def _endless(cfg: Config, batch_size: int) -> Config:
    """The config with batches that come soon, in an epoch that doesn't end before it is measured."""
    cfg = copy.deepcopy(cfg)
    cfg.train_dataloader.batch_size = batch_size
    if cfg.train_dataloader.sampler.type == 'MixtureSampler':
        cfg.train_dataloader.sampler.samples_per_epoch = _SAMPLES
    return cfg


def _alone(cfg: Config, name: str) -> Config:
    """The config without its other sources."""
    sources = cfg.train_dataloader.dataset.get('sources') or {}
    for other in sources:
        if other != name:
            sources[other] = None
    return cfg
