# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Which samples of a catalogue a source takes."""

import numpy as np
import pytest

from vicmae.datasets.sources.catalogue import CatalogueSource, thin_out
from vicmae.errors import DataError


class Shelf:
    """A catalogue in memory."""

    name = 'shelf'
    classes = ('ant', 'bee', 'cat')
    labelling = 'Sort the shelf'

    def __init__(self, labels):
        self._labels = np.array(labels)

    def __len__(self):
        return len(self._labels)

    def __getitem__(self, number):
        return dict(path=f'book {number}', gt_label=int(self._labels[number]))

    def labels(self):
        return self._labels


@pytest.mark.parametrize('max_per_class', [1, 2, 5, 1000])
def test_thinned_out_samples_are_spread_evenly_over_each_class(max_per_class):
    labels = np.random.default_rng(0).integers(-1, 6, 200)
    expected = []
    for label in set(labels.tolist()):
        members = [i for i in range(200) if labels[i] == label]
        count = min(max_per_class, len(members))
        steps = [0] if count == 1 else [k * (len(members) - 1) / (count - 1) for k in range(count)]
        expected += [members[round(step)] for step in steps]
    assert thin_out(labels, max_per_class).tolist() == sorted(expected)


@pytest.mark.parametrize('seed', [None, 0, 7])
@pytest.mark.parametrize('share', [0.01, 0.1, 0.5, 1.0])
def test_share_of_each_class_is_rounded_and_one_at_least(seed, share):
    labels = np.repeat([0, 1, 2, 3], [1, 40, 100, 1300])
    kept = thin_out(labels, share_per_class=share, seed=seed)
    expected = [max(1, round(share * count)) for count in (1, 40, 100, 1300)]
    assert np.bincount(labels[kept]).tolist() == expected
    assert (np.diff(kept) > 0).all()


def test_drawn_subset_follows_from_its_seed_and_smaller_ones_are_in_it():
    labels = np.random.default_rng(0).integers(0, 6, 300)
    by_size = {k: set(thin_out(labels, k, seed=3).tolist()) for k in (1, 5, 10)}
    assert by_size[1] < by_size[5] < by_size[10]
    assert by_size[10] == set(thin_out(labels, 10, seed=3).tolist())
    assert by_size[10] != set(thin_out(labels, 10, seed=4).tolist())
    # A class more leaves the others' samples alone.
    without = thin_out(labels[labels < 5], 10, seed=3)
    members = np.flatnonzero(labels < 5)[without]
    assert set(members.tolist()) == {i for i in by_size[10] if labels[i] < 5}


def test_drawn_samples_are_equally_likely():
    labels = np.zeros(10, dtype=int)
    counts = np.bincount([thin_out(labels, 1, seed=s)[0] for s in range(2000)], minlength=10)
    assert counts.min() > 150 and counts.max() < 250


def test_source_takes_the_smaller_of_number_and_share_and_knows_its_labels():
    shelf = Shelf([0] * 10 + [1] * 40)
    source = CatalogueSource(shelf, max_per_class=5, share_per_class=0.2, subset_seed=0)
    assert np.bincount(source.labels()).tolist() == [2, 5]
    assert [source.get_data_info(i)['gt_label'] for i in range(7)] == source.labels().tolist()
    assert CatalogueSource(shelf).labels().tolist() == [0] * 10 + [1] * 40


@pytest.mark.parametrize('share', [0, 1.5, -0.1])
def test_invalid_share_is_refused(share):
    with pytest.raises(ValueError, match=rf'share_per_class. must be in \(0, 1\], got {share}'):
        CatalogueSource(Shelf([0, 1]), share_per_class=share)
    with pytest.raises(ValueError, match='`max_per_class` must be at least 1, got 0'):
        CatalogueSource(Shelf([0]), max_per_class=0)


def test_numbers_of_samples_that_were_kept_lead_to_the_catalogue():
    source = CatalogueSource(Shelf([2, 0, 0, 1, 2, 0]), max_per_class=2)
    assert [source.get_data_info(i)['path'] for i in range(len(source))] == [
        f'book {number}' for number in (0, 1, 3, 4, 5)
    ]
    assert source.metainfo['classes'] == ('ant', 'bee', 'cat')


def test_sample_beyond_the_last_ends_a_loop():
    source = CatalogueSource(Shelf([0, 1, 2]))
    assert [sample['path'] for sample in source] == ['book 0', 'book 1', 'book 2']
    with pytest.raises(IndexError, match='no sample 3: there are 3'):
        source.get_data_info(3)


def test_probe_error_says_how_this_catalogue_gets_labels():
    with pytest.raises(DataError, match=r"1 of 3 in 'shelf' .* 'book 1'\. Sort the shelf, or"):
        CatalogueSource(Shelf([0, -1, 2]), with_labels=True)


def test_classes_by_pattern_are_taken_and_count_from_0_on():
    source = CatalogueSource(Shelf([2, 0, 1, 2, 0]), classes=['c*', 'bee'], with_labels=True)
    assert source.metainfo['classes'] == ('bee', 'cat')
    assert source.labels().tolist() == [1, 0, 1]
    known = [source.get_data_info(i) for i in range(3)]
    assert known == [
        dict(path='book 0', gt_label=1),
        dict(path='book 2', gt_label=0),
        dict(path='book 3', gt_label=1),
    ]


def test_samples_per_class_are_drawn_from_the_selected_classes():
    source = CatalogueSource(Shelf([2, 0, 1, 2, 1, 1]), classes=['bee', 'cat'], max_per_class=1)
    assert [source.path_of(i) for i in range(len(source))] == ['book 0', 'book 2']
    assert source.labels().tolist() == [1, 0]


def test_samples_without_a_label_are_left_out_if_classes_are_selected():
    source = CatalogueSource(Shelf([-1, 0, 1]), classes=['ant'], with_labels=True)
    assert [source.path_of(i) for i in range(len(source))] == ['book 1']


@pytest.mark.parametrize(('classes', 'got'), [(['dog*', 'ant'], r'dog\*'), ([], 'none')])
def test_unknown_classes_are_refused_with_the_choices(classes, got):
    with pytest.raises(DataError, match=f"classes of 'shelf', got {got}: there are ant, bee, cat."):
        CatalogueSource(Shelf([0, 1, 2]), classes=classes)


def test_classes_of_a_list_without_names_are_refused():
    shelf = Shelf([0, 1])
    shelf.classes = None
    with pytest.raises(DataError, match="those of 'shelf' have none"):
        CatalogueSource(shelf, classes=['ant'])
