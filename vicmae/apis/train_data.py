# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Builds the training data of a config without its model or a Runner, for tools that show data."""

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.config import Config
from torch.utils.data import DataLoader

from vicmae.datasets.bad_files import BadFileLedger
from vicmae.datasets.loader.build import build_loader
from vicmae.datasets.loader.steady import SteadyLoader
from vicmae.datasets.sample_key import SampleKey, as_sample_key
from vicmae.datasets.sources.source import Source
from vicmae.errors import ConfigError
from vicmae.utils.demo_data import make_demo_data_of

from .launch import explained_errors, share_sampler_seed


def build_train_loader(cfg: Config, *, num_workers: int | None = None) -> SteadyLoader:
    """Builds the loader of the training data as a Runner does; bad files are not written to a list."""
    require_train_data(cfg)
    make_demo_data_of(cfg)
    share_sampler_seed(cfg)
    options = dict(cfg.train_dataloader)
    if num_workers is not None:
        options['num_workers'] = num_workers
    if not torch.cuda.is_available():
        options['pin_memory'] = False
    with explained_errors(f'The training data of {cfg.filename!r}', cfg):
        loader = build_loader(options, seed=seed_of(cfg))
    loader.ledger = BadFileLedger(max_fraction=1.0)
    return loader


def require_train_data(cfg: Config) -> None:
    """Refuses a config without training data."""
    if not cfg.get('train_dataloader'):
        raise ConfigError(
            f'The config {cfg.filename!r} has no `train_dataloader`: no data to look at.'
        )


def batches_of(loader: DataLoader) -> Iterator[list[SampleKey]]:
    """Returns the sample keys of an epoch, batch by batch."""
    for batch in loader.batch_sampler or ():
        yield [as_sample_key(key) for key in batch]


def seed_of(cfg: Config) -> int:
    """Returns the seed of a run; 0 if the config has none."""
    return (cfg.get('randomness') or {}).get('seed') or 0


def sources_of(dataset: Any) -> dict[str, Source]:
    """Returns the sources of a mixture by name, or a data set as its only source."""
    if isinstance(dataset, Source):
        return {f'{dataset.kind}s': dataset}
    sources = dict(zip(dataset.names, dataset.sources, strict=True))
    for name, source in sources.items():
        if not isinstance(source, Source):
            raise ConfigError(
                f'The source {name!r} is a {type(source).__name__}, which is no `Source` of vicmae: '
                "what its pipeline does can't be looked at."
            )
    return sources


def set_epoch(loader: DataLoader, epoch: int) -> None:
    """Moves the sampler of a loader to an epoch."""
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    if hasattr(sampler, 'set_epoch'):
        sampler.set_epoch(epoch)
