# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Which samples an epoch visits, and in which order."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dist import sync_random_seed
from torch.utils.data import Sampler

from vicmae.registry import DATA_SAMPLERS
from vicmae.utils.distributed import rank_and_world_size

from ..sample_key import SampleKey

# Streams of random numbers, apart from each other and from the samples' own (`SampleKey`).
_PERMUTATION, _JITTER = 2, 3


@DATA_SAMPLERS.register_module()
class MixtureSampler(Sampler):
    """Mixes the sources of a data set by weight, evenly along the epoch and over the ranks.

    Any stretch of a rank's epoch, hence any batch, holds the sources in the ratio of their weights, give or
    take a sample or two. A source's samples are all drawn before one is drawn again, also from epoch to epoch.
    What an epoch visits follows from (seed, epoch) alone; each rank has its share of each source.

    Args:
        dataset: A `MixedDataset`, or any data set as one source.
        seed: Seed of the order; MMEngine gives the run's.
        samples_per_epoch: Length of an epoch over all ranks. By default, as many as there are samples.
    """

    def __init__(
        self, dataset: Any, seed: int | None = None, samples_per_epoch: int | None = None
    ) -> None:
        if samples_per_epoch is not None and samples_per_epoch < 1:
            raise ValueError(f'`samples_per_epoch` must be positive, got {samples_per_epoch}.')
        self.sizes = getattr(dataset, 'sizes', (len(dataset),))
        weights = np.array(getattr(dataset, 'weights', (1.0,)))
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self.rank, self.world_size = rank_and_world_size()
        total = samples_per_epoch or sum(self.sizes)
        self.counts = _apportion(total, weights / weights.sum())

    def set_epoch(self, epoch: int) -> None:
        """Moves to an epoch; MMEngine's loop calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Samples of this rank: the same number on each, the last ones doubled where it must be."""
        return -(-sum(self.counts) // self.world_size)

    def __iter__(self) -> Iterator[SampleKey]:
        order = np.resize(self.rank_order(), len(self))  # a rank that is one short begins again
        for index in order:
            yield SampleKey(self.seed, self.epoch, int(index))

    def rank_order(self) -> np.ndarray:
        """Indices into the data set that this rank visits in this epoch, in order."""
        indices, places = self.epoch_visits()
        # Dealt out source by source, so that ranks differ by one sample at most, of each source and in all.
        mine = np.arange(len(indices)) % self.world_size == self.rank
        if not mine.any():  # fewer samples than ranks
            mine[0] = True
        return indices[mine][np.argsort(places[mine], kind='stable')]

    def epoch_visits(self) -> tuple[np.ndarray, np.ndarray]:
        """All ranks' visits, source by source: indices into the data set, and places in the epoch, from 0 to 1."""
        indices, places = [], []
        start = 0
        for source, (size, count) in enumerate(zip(self.sizes, self.counts, strict=True)):
            indices.append(start + self._visits(source, size, count))
            # One sample in each of `count` equal stretches of the epoch, anywhere inside it.
            jitter = self._generator(self.epoch, source, _JITTER).random(count)
            places.append((np.arange(count) + jitter) / max(count, 1))
            start += size
        return np.concatenate(indices), np.concatenate(places)

    def _visits(self, source: int, size: int, count: int) -> np.ndarray:
        """The part of an endless row of permutations of the source that falls to this epoch."""
        first, last = self.epoch * count, (self.epoch + 1) * count
        rounds = range(first // size, -(-last // size))
        row = np.concatenate(
            [self._generator(r, source, _PERMUTATION).permutation(size) for r in rounds]
            or [np.empty(0, dtype=int)]
        )
        offset = first - rounds.start * size
        return row[offset : offset + count]

    def _generator(self, epoch_or_round: int, source: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch_or_round, source, stream])


def _apportion(total: int, shares: np.ndarray) -> list[int]:
    """Whole numbers near total * shares that add up to total, or a little more: each positive share gets one."""
    exact = total * shares
    counts = np.floor(exact).astype(int)
    by_remainder = np.argsort(-(exact - counts), kind='stable')
    counts[by_remainder[: total - counts.sum()]] += 1
    return np.where(shares > 0, np.maximum(counts, 1), 0).tolist()
