# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Samples from several sources, by weight."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmengine.dist import sync_random_seed
from torch.utils.data import Sampler

from vicmae.registry import DATA_SAMPLERS
from vicmae.utils.distributed import rank_and_world_size

from ..sample_key import SampleKey

# Streams of random numbers, different from each other and from the samples' (`SampleKey`).
_PERMUTATION, _JITTER = 2, 3
_KEYS_AT_ONCE = 4096


@dataclass(frozen=True)
class Visits:
    """Visits of one epoch to the samples of one source, in order. Visits from one opening of a file are adjacent."""

    indices: np.ndarray  # positions in the data set
    numbers: np.ndarray  # `SampleKey.visit`
    places: np.ndarray  # positions of the visits in the epoch, from 0 to 1

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, chosen: Any) -> 'Visits':
        return Visits(self.indices[chosen], self.numbers[chosen], self.places[chosen])

    def keys(self, seed: int, epoch: int) -> Iterator[SampleKey]:
        """Yields a key for each visit. It works in parts, as an epoch may have many millions of visits."""
        for start in range(0, len(self), _KEYS_AT_ONCE):
            part = self[start : start + _KEYS_AT_ONCE]
            for index, number in zip(part.indices.tolist(), part.numbers.tolist(), strict=True):
                yield SampleKey(seed, epoch, index, number)


@DATA_SAMPLERS.register_module()
class MixtureSampler(Sampler):
    """Mixes the sources of a data set by weight, evenly over the epoch and the ranks.

    The samples of an epoch and their order depend on (seed, epoch) only: with the same total batch size, a step trains
    on the same samples on any number of ranks. Each rank's batch has the sources in the ratio of their weights, up to
    one or two samples (or the visits of one opening of a file). All samples of a source are drawn before one is drawn
    again, also across epochs.

    Args:
        dataset: A `MixedDataset`, or any data set, which counts as one source.
        seed: Seed of the order, by default that of the run.
        samples_per_epoch: Number of samples of an epoch, over all ranks. By default the size of the data set.
    """

    batch_size = 1  # samples per rank and step; `SteadyLoader` sets it

    def __init__(
        self, dataset: Any, seed: int | None = None, samples_per_epoch: int | None = None
    ) -> None:
        if samples_per_epoch is not None and samples_per_epoch < 1:
            raise ValueError(f'`samples_per_epoch` must be positive, got {samples_per_epoch}.')
        self.names = getattr(dataset, 'names', ('samples',))
        self.sizes = getattr(dataset, 'sizes', (len(dataset),))
        self.visits_per_opening = np.broadcast_to(
            getattr(dataset, 'visits_per_opening', 1), len(self.sizes)
        ).tolist()
        weights = np.array(getattr(dataset, 'weights', (1.0,)))
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self.rank, self.world_size = rank_and_world_size()
        total = samples_per_epoch or sum(self.sizes)
        self.counts = _apportion(total, weights / weights.sum())

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch. MMEngine's loop calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Returns the number of samples per rank, equal on all ranks: the first samples are repeated if necessary."""
        return -(-sum(self.counts) // self.world_size)

    def __iter__(self) -> Iterator[SampleKey]:
        order = self.epoch_order()
        together = self.batch_size * self.world_size
        for start in range(0, len(order), together):
            yield from self._share(order[start : start + together]).keys(self.seed, self.epoch)

    def epoch_order(self) -> Visits:
        """Returns the visits of all ranks in this epoch, in order. The first ones are repeated to fill all ranks."""
        parts = self.epoch_visits()
        names = Visits.__annotations__
        visits = Visits(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))
        in_order = visits[np.argsort(visits.places, kind='stable')]
        return in_order[np.resize(np.arange(len(visits)), len(self) * self.world_size)]

    def _share(self, step: Visits) -> Visits:
        """Returns this rank's part of the visits of one step."""
        source_of = np.searchsorted(np.cumsum(self.sizes), step.indices, side='right')
        chosen, before = [], 0
        for source, together in enumerate(self.visits_per_opening):
            positions = np.flatnonzero(source_of == source)
            # Visits that remain of an opening of the previous step move to the end, so that others start at multiples.
            begun = int(-step.numbers[positions[:1]].sum() % together)
            positions = np.roll(positions, -begun)
            chosen.append(positions[self._deal(len(positions), together, before)])
            before += len(positions)
        return step[np.sort(np.concatenate(chosen))]

    def _deal(self, count: int, together: int, before: int) -> np.ndarray:
        """Selects this rank's visits to a source: whole openings as long as each rank gets one, then single visits."""
        positions = np.arange(count)
        num_whole = count - count % (together * self.world_size)
        # The remaining visits start at the rank after that of the previous sources: ranks differ by at most one in
        # total.
        offset = before + positions - num_whole
        owner = np.where(positions < num_whole, positions // together, offset) % self.world_size
        return owner == self.rank

    def epoch_visits(self) -> list[Visits]:
        """Returns the visits of all ranks, by source."""
        starts = np.cumsum([0, *self.sizes])
        return [self._visits(source, int(starts[source])) for source in range(len(self.sizes))]

    def _visits(self, source: int, first_index: int) -> Visits:
        """Returns this epoch's part of an endless sequence of permutations of the source."""
        size, count = self.sizes[source], self.counts[source]
        together = self.visits_per_opening[source]
        openings = -(-count // together)
        first, last = self.epoch * openings, (self.epoch + 1) * openings
        rounds = range(first // size, -(-last // size))
        permutations = [self.generator(r, source, _PERMUTATION).permutation(size) for r in rounds]
        row = np.concatenate(permutations or [np.empty(0, dtype=int)])
        offset = first - rounds.start * size
        opened = row[offset : offset + openings]
        round_of = (np.arange(openings) + offset) // size
        # One opening in each of equal parts of the epoch, at a random position inside.
        jitter = self.generator(self.epoch, source, _JITTER).random(openings)
        places = (np.arange(openings) + jitter) / max(openings, 1)
        numbers = round_of[:, None] * together + np.arange(together)
        indices = np.repeat(first_index + opened, together)
        return Visits(indices, numbers.ravel(), np.repeat(places, together))[:count]

    def generator(self, epoch_or_round: int, source: int, stream: int) -> np.random.Generator:
        """Makes a random generator from the run's seed and other numbers."""
        return np.random.default_rng([self.seed, epoch_or_round, source, stream])


def _apportion(total: int, shares: np.ndarray) -> list[int]:
    """Rounds total * shares to integers whose sum is total, or more if each positive share needs one."""
    exact = total * shares
    counts = np.floor(exact).astype(int)
    by_remainder = np.argsort(-(exact - counts), kind='stable')
    counts[by_remainder[: total - counts.sum()]] += 1
    return np.where(shares > 0, np.maximum(counts, 1), 0).tolist()
