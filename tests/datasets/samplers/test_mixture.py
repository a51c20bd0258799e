# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""The samples of an epoch: shares, order, completeness, and equality on any number of ranks."""

from collections import Counter

import numpy as np
import pytest

from vicmae.datasets import MixedDataset, MixtureSampler


def make_sampler(sizes=(30, 10), weights=None, *, rank=0, world_size=1, batch_size=1, **options):
    names = [f's{i}' for i in range(len(sizes))]
    dataset = MixedDataset(
        {name: range(size) for name, size in zip(names, sizes, strict=True)},
        weights=None if weights is None else dict(zip(names, weights, strict=True)),
    )
    sampler = MixtureSampler(dataset, **{'seed': 0, **options})
    sampler.rank, sampler.world_size = rank, world_size
    sampler.batch_size = batch_size
    return sampler


def indices(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return [key.index for key in sampler]


def per_source(visited, sizes):
    """Counts the visited samples of each source."""
    source = np.searchsorted(np.cumsum(sizes), visited, side='right')
    return np.bincount(source, minlength=len(sizes)).tolist()


def test_without_weights_every_sample_is_visited_once_an_epoch():
    sampler = make_sampler()
    for epoch in range(3):
        assert sorted(indices(sampler, epoch)) == list(range(40))


@pytest.mark.parametrize(
    ('weights', 'total', 'expected'),
    [((1, 1), 40, [20, 20]), ((2, 1), 40, [27, 13]), ((1, 0), 40, [40, 0]), ((999, 1), 8, [8, 1])],
)
def test_each_source_has_its_share_of_the_epoch(weights, total, expected):
    sampler = make_sampler(weights=weights, samples_per_epoch=total)
    assert per_source(indices(sampler), (30, 10)) == expected


@pytest.mark.parametrize('window', [5, 8, 64])
def test_any_part_of_the_epoch_has_the_sources_near_their_ratio(window):
    sizes, weights = (500, 100), (2, 1)
    visited = indices(make_sampler(sizes, weights, samples_per_epoch=600))
    images = np.array(visited) < sizes[0]
    counts = np.convolve(images, np.ones(window), mode='valid')
    # One sample in each of equal stretches: less than two away from the exact share, wherever the window begins.
    assert np.abs(counts - window * 2 / 3).max() < 2
    assert 0 < images[:10].sum() < 10  # no block of one source at the beginning


@pytest.mark.parametrize(('weights', 'total'), [((1, 1), 24), ((3, 1), 50), ((1, 5), 7)])
def test_samples_of_a_source_are_all_visited_before_one_is_visited_again(weights, total):
    sampler = make_sampler((11, 5), weights, samples_per_epoch=total)
    visited = np.concatenate([indices(sampler, epoch) for epoch in range(12)])
    for first, size in [(0, 11), (11, 5)]:
        mine = visited[(visited >= first) & (visited < first + size)]
        # The row of an epoch is shuffled among the sources, not within one.
        for start in range(0, len(mine) - size + 1, size):
            assert sorted(mine[start : start + size]) == list(range(first, first + size))


@pytest.mark.parametrize('world_size', [1, 3, 7])
def test_ranks_share_the_epoch_of_one_process(world_size):
    whole = indices(make_sampler(weights=(1, 1)), epoch=2)
    parts = [
        indices(make_sampler(weights=(1, 1), rank=r, world_size=world_size), epoch=2)
        for r in range(world_size)
    ]
    assert len({len(part) for part in parts}) == 1
    together = Counter(index for part in parts for index in part)
    doubled = together - Counter(
        whole
    )  # where the ranks can't share evenly, the last ones are seen twice
    assert together - doubled == Counter(whole)
    assert doubled.total() == len(parts[0]) * world_size - len(whole) < world_size


@pytest.mark.parametrize('weights', [(1, 1), (3, 1)])
@pytest.mark.parametrize('world_size', [1, 2, 4, 8])
def test_every_batch_of_every_rank_holds_the_sources_by_weight(world_size, weights):
    sizes, batch_size = (500, 300), 16
    expected = batch_size * np.array(weights) / sum(weights)
    for rank in range(world_size):
        options = dict(
            rank=rank, world_size=world_size, batch_size=batch_size, samples_per_epoch=1024
        )
        visited = indices(make_sampler(sizes, weights, **options))
        for start in range(0, len(visited), batch_size):
            held = per_source(visited[start : start + batch_size], sizes)
            assert np.abs(held - expected).max() <= 2


def test_more_ranks_than_samples_give_each_rank_one():
    for rank in range(3):
        visited = indices(
            make_sampler((5, 5), (0, 1), rank=rank, world_size=3, samples_per_epoch=1)
        )
        assert len(visited) == 1 and visited[0] >= 5


def test_length_is_the_number_of_keys():
    for world_size in (1, 3):
        sampler = make_sampler(world_size=world_size, samples_per_epoch=16)
        assert len(sampler) == len(list(sampler)) == -(-16 // world_size)


def test_keys_carry_seed_and_epoch():
    sampler = make_sampler(seed=5)
    sampler.set_epoch(3)
    assert {(key.seed, key.epoch) for key in sampler} == {(5, 3)}


def test_order_depends_only_on_seed_and_epoch():
    assert indices(make_sampler(seed=1), 4) == indices(make_sampler(seed=1), 4)
    assert indices(make_sampler(seed=1), 4) != indices(make_sampler(seed=2), 4)
    assert indices(make_sampler(seed=1), 4) != indices(make_sampler(seed=1), 5)


def test_seed_is_drawn_if_none_is_given():
    assert make_sampler(seed=None).seed != make_sampler(seed=None).seed


def test_epoch_may_be_shorter_or_longer_than_the_data():
    short = make_sampler(samples_per_epoch=8)
    assert per_source(indices(short), (30, 10)) == [6, 2]
    visits = Counter(indices(make_sampler(samples_per_epoch=100)))
    assert sum(visits.values()) == 100
    assert set(visits) == set(range(40))
    assert set(visits.values()) == {2, 3}


def test_single_sample_is_visited_each_time():
    assert indices(make_sampler((1,))) == [0]
    assert indices(make_sampler((1,), samples_per_epoch=5)) == [0] * 5
    assert indices(make_sampler((1,), rank=2, world_size=3)) == [0]


def test_any_data_set_is_one_source():
    assert sorted(k.index for k in MixtureSampler(range(6), seed=0)) == list(range(6))


def test_epoch_without_samples_is_refused():
    with pytest.raises(ValueError, match='`samples_per_epoch` must be positive, got 0'):
        make_sampler(samples_per_epoch=0)


def repeated(sizes, visits, weights=None, *, rank=0, world_size=1, **options):
    sampler = make_sampler(sizes, weights, rank=rank, world_size=world_size, **options)
    sampler.visits_per_opening = list(visits)
    return sampler


def keys_of(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return list(sampler)


def test_visits_of_one_opening_are_adjacent_and_numbered():
    keys = keys_of(repeated((40, 12), (1, 4)))
    videos = [(key.index, key.visit) for key in keys if key.index >= 40]
    assert len(videos) == 12 and len(keys) == 52
    for start in range(0, 12, 4):
        group = videos[start : start + 4]
        assert len({index for index, _ in group}) == 1
        assert [visit for _, visit in group] == [0, 1, 2, 3]
    places = [i for i, key in enumerate(keys) if key.index >= 40]
    assert all(places[s + 3] - places[s] == 3 for s in range(0, 12, 4))  # nothing in between


def test_every_file_is_opened_once_before_one_is_opened_again():
    sampler = repeated((12,), (4,))
    opened = [key.index for epoch in range(4) for key in keys_of(sampler, epoch) if key.visit == 0]
    assert sorted(opened) == list(range(12))


def test_no_two_visits_of_an_epoch_are_the_same():
    for visits in [(1, 1), (1, 4), (3, 2)]:
        keys = keys_of(repeated((5, 7), visits, samples_per_epoch=100))
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize('world_size', [1, 2, 3, 4])
@pytest.mark.parametrize('sizes', [(37, 23), (8, 100), (3, 5)])
def test_ranks_share_repeated_visits_exactly(world_size, sizes):
    whole = keys_of(repeated(sizes, (1, 4)), epoch=1)
    parts = [
        keys_of(repeated(sizes, (1, 4), rank=r, world_size=world_size), epoch=1)
        for r in range(world_size)
    ]
    assert len({len(part) for part in parts}) == 1
    together = Counter(key for part in parts for key in part)
    assert set(together) == set(whole)
    assert sum(together.values()) - len(whole) < world_size


def test_ranks_keep_openings_whole():
    for rank in range(2):
        keys = keys_of(repeated((64,), (4,), rank=rank, world_size=2, batch_size=8))
        assert [key.visit for key in keys] == [0, 1, 2, 3] * 8


@pytest.mark.parametrize('visits', [(1, 1), (1, 4), (2, 3)])
@pytest.mark.parametrize('sizes', [(500, 300), (70, 90)])
def test_a_step_visits_the_same_samples_on_any_number_of_ranks(visits, sizes):
    together = 24

    def steps(world_size):
        per_rank = together // world_size
        ranks = [
            keys_of(
                repeated(sizes, visits, (2, 1), rank=r, world_size=world_size, batch_size=per_rank)
            )
            for r in range(world_size)
        ]
        starts = range(0, len(ranks[0]) - per_rank + 1, per_rank)
        return [sorted(key for keys in ranks for key in keys[s : s + per_rank]) for s in starts]

    alone = steps(1)
    assert len(alone) == sum(sizes) // together
    for world_size in (2, 3, 8):
        assert steps(world_size) == alone


def test_few_openings_are_split_between_steps():
    """A step has 12 visits, an opening 5: an opening stays on one rank as long as ranks get equal numbers."""
    opened = [
        len({(key.index, key.visit // 5) for key in keys[start : start + 12]})
        for rank in range(2)
        for keys in [keys_of(repeated((120,), (5,), rank=rank, world_size=2, batch_size=12))]
        for start in range(0, len(keys), 12)
    ]
    assert max(opened) <= 12 // 5 + 4
