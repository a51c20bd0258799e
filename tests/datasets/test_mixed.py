# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Several sources as one data set."""

import pytest

from vicmae.datasets import MixedDataset, SampleKey
from vicmae.errors import ConfigError


class Recorder:
    """A source that returns the requested keys."""

    def __init__(self, name, size):
        self.name, self.size = name, size

    def __len__(self):
        return self.size

    def __getitem__(self, key):
        return self.name, key


def mixed(**options):
    return MixedDataset(dict(images=Recorder('i', 3), videos=Recorder('v', 2)), **options)


def test_indices_are_mapped_to_sources_and_keep_seed_and_epoch():
    visits = [mixed()[SampleKey(8, 9, i)] for i in range(5)]
    assert visits == [
        ('i', (8, 9, 0, 0)),
        ('i', (8, 9, 1, 0)),
        ('i', (8, 9, 2, 0)),
        ('v', (8, 9, 0, 0)),
        ('v', (8, 9, 1, 0)),
    ]
    assert len(mixed()) == 5


def test_source_set_to_none_is_left_out():
    dataset = MixedDataset(
        dict(images=None, videos=Recorder('v', 2)), weights=dict(images=2, videos=1)
    )
    assert (dataset.names, dataset.sizes, dataset.weights) == (('videos',), (2,), (1.0,))
    assert dataset[SampleKey(0, 0, 1)] == ('v', (0, 0, 1, 0))


def test_all_sources_disabled_is_an_error():
    with pytest.raises(ConfigError, match='are disabled .got images, videos.. Give at least'):
        MixedDataset(dict(images=None, videos=None))


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('image', 'no source `image` whose `data_root` could .*: did you mean `images`'),
        ('clips', 'no source `clips` whose `data_root` could .*: there are images, videos'),
    ],
)
def test_source_without_a_type_is_reported_as_misspelt(name, message):
    sources = dict(images=Recorder('i', 3), videos=None)
    with pytest.raises(ConfigError, match=message):
        MixedDataset({**sources, name: dict(data_root='x')})


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        (dict(images=1, videoes=1), 'must name each source .images, videos., got images, videoes'),
        (dict(images=1), 'must name each source .images, videos., got images'),
        (dict(images=2, videos=-1), "must not be negative.*'videos': -1"),
        (dict(images=0, videos=0), 'one must be positive'),
    ],
)
def test_weights_of_other_sources_are_refused(weights, message):
    with pytest.raises(ConfigError, match=message):
        mixed(weights=weights)


def test_metainfo_has_the_classes_of_each_source(demo_data):
    images = dict(type='ImageFolder', data_root=f'{demo_data}/images/train')
    videos = dict(type='VideoFolder', data_root=f'{demo_data}/videos/train')
    metainfo = MixedDataset(dict(images=images, videos=videos)).metainfo
    assert metainfo['images']['classes'] == metainfo['videos']['classes']
    assert len(metainfo['images']['classes']) == 4


@pytest.mark.parametrize(
    'pipeline',
    [
        [dict(type='OneView', transforms=[]), dict(type='PackImage')],
        [dict(type='CenterCrop', size=16), dict(type='PackClip')],
    ],
    ids=['training', 'evaluation'],
)
def test_sample_has_the_name_of_its_source_and_its_tag_for_the_head(demo_data, pipeline):
    folder = dict(
        type='ImageFolder',
        data_root=str(demo_data / 'images/val'),
        pipeline=[dict(type='LoadImage'), *pipeline],
    )
    dataset = MixedDataset(dict(images=folder, places={**folder, 'tags': dict(head='images')}))
    samples = [dataset[SampleKey(0, 0, start)]['data_samples'] for start in (0, dataset.sizes[0])]
    assert [sample.source for sample in samples] == ['images', 'places']
    assert [sample.get('head') for sample in samples] == [None, 'images']
    assert [meta.get('head') for meta in dataset.metainfo.values()] == [None, 'images']
