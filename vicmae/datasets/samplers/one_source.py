# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Samples batches that hold only images or only videos."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from vicmae.errors import ConfigError
from vicmae.registry import DATA_SAMPLERS
from vicmae.utils.names import count_of

from ..sample_key import SampleKey
from .mixture import MixtureSampler, Visits

# Its stream of random numbers. `MixtureSampler` has other streams.
_BATCH_JITTER = 4


@DATA_SAMPLERS.register_module()
class OneSourceBatches(Sampler):
    """Samples batches of one source each. At each step, all ranks have the same source.

    Images and videos may then differ in size, and the contrastive loss has negatives of one kind only. Sources keep
    their shares of the epoch. Incomplete last batches are dropped. Use it as
    `train_dataloader=dict(batch_sampler=dict(type='OneSourceBatches'), ...)`.

    Args:
        sampler: The `MixtureSampler` that draws the samples of an epoch.
        batch_size: Number of samples of one rank's batch.
    """

    def __init__(self, sampler: MixtureSampler, batch_size: int) -> None:
        if not isinstance(sampler, MixtureSampler):
            raise ConfigError(
                f'OneSourceBatches needs a MixtureSampler as the `sampler`, got {type(sampler).__name__}.'
            )
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = True
        together = batch_size * sampler.world_size
        self._batches_of = [count // together for count in sampler.counts]
        for name, count, batches in zip(
            sampler.names, sampler.counts, self._batches_of, strict=True
        ):
            if count and not batches:
                ranks = count_of(sampler.world_size, 'process', 'processes')
                raise ConfigError(
                    f'An epoch has {count} samples of {name!r}, too few for one batch of {batch_size} on each of '
                    f'{ranks}. Lower `train_dataloader.batch_size`, raise `train_dataloader.sampler.'
                    'samples_per_epoch`, or omit `batch_sampler`: then batches mix the sources.'
                )

    def __len__(self) -> int:
        return sum(self._batches_of)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        sampler = self.sampler
        batches: list[tuple[float, Visits]] = []
        for source, visits in enumerate(sampler.epoch_visits()):
            count = self._batches_of[source]
            jitter = sampler.generator(sampler.epoch, source, _BATCH_JITTER).random(count)
            for number, place in enumerate((np.arange(count) + jitter) / max(count, 1)):
                start = (number * sampler.world_size + sampler.rank) * self.batch_size
                batches.append((place, visits[start : start + self.batch_size]))
        for _, visits in sorted(batches, key=lambda batch: batch[0]):
            yield list(visits.keys(sampler.seed, sampler.epoch))
