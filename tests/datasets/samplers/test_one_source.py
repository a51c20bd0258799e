# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Batches of one source: equal sources on all ranks, in the shares of the mixture, and no sample twice."""

from collections import Counter

import pytest

from vicmae.datasets import MixedDataset, MixtureSampler, OneSourceBatches
from vicmae.errors import ConfigError

SIZES = (50, 30)


def make(batch_size=4, *, rank=0, world_size=1, sizes=SIZES, **options):
    dataset = MixedDataset(dict(images=range(sizes[0]), videos=range(sizes[1])))
    sampler = MixtureSampler(dataset, **{'seed': 0, **options})
    sampler.rank, sampler.world_size = rank, world_size
    return OneSourceBatches(sampler, batch_size)


def kinds(batches):
    found = []
    for batch in batches:
        kind = {key.index >= SIZES[0] for key in batch}
        assert len(kind) == 1
        found.append(kind.pop())
    return found


def test_each_batch_is_of_one_source_and_sources_keep_their_shares():
    batches = list(make())
    assert len(batches) == len(make()) == 50 // 4 + 30 // 4
    assert Counter(kinds(batches)) == {False: 12, True: 7}
    assert all(len(batch) == 4 for batch in batches)


def test_sources_alternate():
    assert len(set(kinds(list(make())[:6]))) == 2


def test_no_sample_is_in_two_batches():
    keys = [key for batch in make() for key in batch]
    assert len(set(keys)) == len(keys)


def test_all_ranks_have_the_same_source_at_each_step_and_share_no_sample():
    parts = [list(make(rank=r, world_size=3)) for r in range(3)]
    assert kinds(parts[0]) == kinds(parts[1]) == kinds(parts[2])
    keys = [key for part in parts for batch in part for key in batch]
    assert len(set(keys)) == len(keys) == 3 * 4 * (50 // 12 + 30 // 12)


def test_epochs_differ_and_are_reproducible():
    batches = make()
    first = list(batches)
    assert list(batches) == first
    batches.sampler.set_epoch(1)
    assert list(batches) != first


def test_source_too_small_for_a_batch_is_refused():
    with pytest.raises(ConfigError, match="30 samples of 'videos', too few for one batch of 16"):
        make(16, world_size=2)


def test_source_without_weight_needs_no_batch():
    dataset = MixedDataset(
        dict(images=range(50), videos=range(3)), weights=dict(images=1, videos=0)
    )
    batches = OneSourceBatches(MixtureSampler(dataset, seed=0), 16)
    assert len(list(batches)) == len(batches) == 3


def test_repeated_sampling_keeps_the_epoch_and_opens_each_video_once_in_four():
    """As in OmniMAE: an epoch has each image once, and four samples of each of a quarter of the videos."""
    videos = range(50, 82)
    opened = Counter()
    for epoch in range(4):
        batches = make(sizes=(50, len(videos)))
        batches.sampler.visits_per_opening = [1, 4]
        batches.sampler.set_epoch(epoch)
        epoch_keys = list(batches)
        assert len(epoch_keys) == len(batches) == 50 // 4 + 32 // 4
        of_videos = [batch for batch in epoch_keys if batch[0].index in videos]
        assert all(len({key.index for key in batch}) == 1 for batch in of_videos)
        assert all(len({key.visit for key in batch}) == 4 for batch in of_videos)
        opened.update(batch[0].index for batch in of_videos)
        images = [key.index for batch in epoch_keys for key in batch if key.index not in videos]
        assert len(set(images)) == len(images) == 48
    assert opened == Counter(videos)


def test_other_samplers_are_refused():
    with pytest.raises(ConfigError, match='needs a MixtureSampler as the `sampler`, got range'):
        OneSourceBatches(range(4), 2)
