# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping
from typing import Any

from mmengine.runner import Runner

from vicmae.errors import ConfigError

from .steady import SteadyLoader

# Options of a config's data loaders that torch doesn't have. The first one is for the list of bad files.
LOADER_OPTIONS = ('max_bad_fraction', 'sample_seconds')


def build_loader(
    config: Mapping[str, Any],
    *,
    seed: int | None = None,
    diff_rank_seed: bool = False,
    replace: bool = True,
    stand_ins: bool = False,
) -> SteadyLoader:
    """Builds the loader of a config's `train_dataloader`, `val_dataloader` or `test_dataloader`.

    `config` has options of torch's DataLoader with `dataset` and `sampler` as dicts, and `LOADER_OPTIONS`.
    """
    options = {name: value for name, value in config.items() if name not in LOADER_OPTIONS}
    if not isinstance(options.get('collate_fn', {}), Mapping) and not callable(
        options['collate_fn']
    ):
        raise ConfigError(
            f'`collate_fn` of a data loader is a dict with `type`, got {options["collate_fn"]!r}. Set '
            "`collate_fn=dict(type='default_collate')`, or 'collate_by_kind' for batches of images and clips, or "
            "'pseudo_collate' for labelled data."
        )
    if options.get('batch_sampler'):  # torch refuses the two together
        options.pop('drop_last', None)
    if options.get('num_workers', 0) == 0:  # torch refuses these without workers
        options['persistent_workers'] = False
        options.pop('prefetch_factor', None)
    loader = Runner.build_dataloader(options, seed, diff_rank_seed)
    steady_options = {name: config[name] for name in LOADER_OPTIONS[1:] if name in config}
    return SteadyLoader.around(loader, replace=replace, stand_ins=stand_ins, **steady_options)
