# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
from collections.abc import Mapping
from typing import Any

from mmengine.runner import Runner

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
    if options.get('batch_sampler'):  # torch refuses the two together
        options.pop('drop_last', None)
    if options.get('num_workers', 0) == 0:  # torch refuses these without workers
        options['persistent_workers'] = False
        options.pop('prefetch_factor', None)
    loader = Runner.build_dataloader(options, seed, diff_rank_seed)
    steady_options = {name: config[name] for name in LOADER_OPTIONS[1:] if name in config}
    return SteadyLoader.around(loader, replace=replace, stand_ins=stand_ins, **steady_options)
