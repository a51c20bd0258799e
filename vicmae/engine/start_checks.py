# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Looks for settings that train, but hardly as meant, before the first step."""

import math
import os
import re
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.optim import OptimWrapper

from vicmae.datasets.samplers import MixtureSampler, OneSourceBatches
from vicmae.models.losses import InfoNCELoss
from vicmae.utils.distributed import unwrapped

from .position import step_schedules

# Longer schedules take seconds to step through.
_MOST_STEPS = 200_000
# The share of negatives that may be copies of one file.
_MOST_COPIES = 0.1
_SPLITS = re.compile(r'(?i)(train|training|val|valid|validation|test|testing)\d*')


def check_schedule(runner: Any) -> str | None:
    """Describes a learning-rate schedule that ends before or after the run.

    A schedule that ends early at its full learning rate is a warm-up, and is left alone.
    """
    schedules = runner.param_schedulers
    if not isinstance(schedules, list):
        return None
    per_epoch = len(runner.train_dataloader)
    ends = [
        schedule.end * (per_epoch if schedule.by_epoch else 1)
        for schedule in schedules
        if schedule.param_name == 'lr' and hasattr(schedule, 'end')
    ]
    if not ends or abs(max(ends) - runner.max_iters) < per_epoch:
        return None
    end, length = max(ends), runner.max_iters
    rate, full_rate = _learning_rate_at(runner, min(end, length))
    if end < length and math.isclose(rate, full_rate, rel_tol=1e-3):
        return None
    unit, scale = ('epoch', per_epoch) if runner.max_epochs > 1 else ('iteration', 1)
    last, total = f'{end / scale:.4g}', f'{length / scale:.4g}'
    if end < length:
        return (
            f'The learning rate stays at {rate:.3g} from {unit} {last} of {total} on: `param_scheduler` ends there. '
            'Entries without `end` and `T_max` last as long as the run.'
        )
    return (
        f'The run ends at {unit} {total} with a learning rate of {rate:.3g}, and `param_scheduler` at {unit} {last}. '
        'Entries without `end` and `T_max` last as long as the run.'
    )


def _learning_rate_at(runner: Any, step: int) -> tuple[float, float]:
    """Returns the largest learning rate after a number of steps, and before any schedule."""
    groups = runner.optim_wrapper.param_groups
    full_rate = max(group.get('initial_lr', group['lr']) for group in groups)
    if step > _MOST_STEPS:
        return math.nan, full_rate
    # Another optimizer: this one may have been resumed.
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=full_rate)
    schedules = runner._build_param_scheduler(runner.schedule_settings, OptimWrapper(optimizer))
    step_schedules(schedules, step, len(runner.train_dataloader))
    return optimizer.param_groups[0]['lr'], full_rate


def check_negatives(runner: Any) -> str | None:
    """Describes batches in which a contrastive loss gets copies of one file as negatives."""
    loader, model = runner.train_dataloader, unwrapped(runner.model)
    loss = getattr(getattr(model, 'head', model), 'contrastive', None)
    batches = loader.batch_sampler
    sampler = getattr(batches, 'sampler', None)
    if not isinstance(loss, InfoNCELoss) or not isinstance(sampler, MixtureSampler):
        return None
    batch = batches.batch_size * runner.world_size
    for name, size, count, visits in zip(
        sampler.names, sampler.sizes, sampler.counts, sampler.visits_per_opening, strict=True
    ):
        alone = isinstance(batches, OneSourceBatches)
        samples = batch if alone else round(batch * count / sum(sampler.counts))
        files = min(size, -(-samples // visits))
        copies = samples / files - 1 if files else 0
        if copies > 0 and (size < samples or copies > _MOST_COPIES * (batch - 1)):
            return (
                f'A batch of {batch} has {samples} samples of {name!r} from {files} '
                f'{"file" if files == 1 else "different files"}: in the contrastive loss, copies of one file are '
                'negatives of each other. Add files, or lower `train_dataloader.batch_size`, '
                f'`train_dataloader.dataset.weights.{name}` or the `visits_per_opening` of the source, now {visits}.'
            )
    return None


def check_evaluation_data(runner: Any) -> str | None:
    """Describes validation data that lie in other folders than the training data."""
    if runner.val_loop is None:
        return None
    trained = dict(_data_sets(runner.train_dataloader.dataset))
    evaluated = dict(_data_sets(runner.val_loop.dataloader.dataset))
    others = [root for root, name in evaluated.items() if not _is_part_of_any(name, trained)]
    if not others or not trained:
        return None
    return (
        f'The evaluation uses other data than the training: it reads {", ".join(others)}, and the training '
        f'{", ".join(trained)}.'
    )


def _data_sets(dataset: Any) -> Iterator[tuple[str, str]]:
    """Yields the folder of each source, and that folder without the words for a split, such as train."""
    for source in getattr(dataset, 'sources', [dataset]):
        root = getattr(source, 'data_root', '') or _folder_of_list(source)
        if root:
            parts = os.path.abspath(root).split(os.sep)
            words = [
                '_'.join(w for w in re.split('[_-]', p) if not _SPLITS.fullmatch(w)) for p in parts
            ]
            yield root, os.sep.join(filter(None, words))


def _folder_of_list(source: Any) -> str:
    """Returns the folder of the listed files, by three of them; '' without a list or a common folder."""
    if not getattr(source, 'ann_file', ''):
        return ''
    places = (0, len(source) // 2, len(source) - 1)
    common = os.path.commonpath(
        [os.path.dirname(os.path.abspath(source.path_of(i))) for i in places]
    )
    return '' if common == os.sep else common


def _is_part_of_any(name: str, others: dict[str, str]) -> bool:
    return any(
        f'{name}{os.sep}'.startswith(f'{other}{os.sep}')
        or f'{other}{os.sep}'.startswith(f'{name}{os.sep}')
        for other in others.values()
    )
