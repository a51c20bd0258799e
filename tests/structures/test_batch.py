# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Batches: number of samples, and the pixels of a sample."""

import copy
import pickle

import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmpretrain.structures import DataSample
from torch.distributed.utils import _recursive_to
from torch.utils.data._utils.pin_memory import pin_memory

from vicmae.datasets.loader.collate import collate_by_kind
from vicmae.datasets.loader.steady import SteadyLoader
from vicmae.errors import ConfigError, DataError
from vicmae.models.data_preprocessors import LabelledPreprocessor, ViewPreprocessor
from vicmae.structures import Clips, Mixed, Views, as_batch, as_vector


def samples_of(*shape, number=7, dtype=torch.uint8):
    """Labelled samples whose pixels are their number."""
    return [
        dict(inputs=torch.full(shape, i, dtype=dtype), data_samples=DataSample().set_gt_label(i))
        for i in range(number)
    ]


def pairs(number=7):
    """Unlabelled samples of two views whose pixels are their number, and its negative for the second."""
    return [
        dict(
            inputs=[torch.full((3, 4, 4), i), torch.full((3, 4, 4), -i)],
            augment=[torch.from_numpy(as_vector({}))] * 2,
            seeds=i,
        )
        for i in range(number)
    ]


def mixed_pairs():
    """Samples of `pairs`, of which the first two and the last are of another size."""
    return [
        dict(one, inputs=[view[..., :2] for view in one['inputs']]) if n in (0, 1, 6) else one
        for n, one in enumerate(pairs())
    ]


def make(kind):
    if kind == 'mixed':
        return as_batch(collate_by_kind(mixed_pairs()))
    if kind == 'views':
        return as_batch(default_collate(pairs()))
    return as_batch(pseudo_collate(samples_of(*dict(image=(3, 4, 4), clip=(5, 3, 4, 4))[kind])))


KINDS = ['views', 'image', 'clip', 'mixed']


@pytest.mark.parametrize('kind', KINDS)
def test_length_is_the_number_of_samples(kind):
    batch = make(kind)
    assert len(batch) == 7
    for i in range(7):
        values = [float(view.unique()) for view in batch.sample(i)]
        assert values == ([i] if kind in ('image', 'clip') else [i, -i])


def test_samples_of_stacked_clips_and_views_are_found():
    stacked = Clips(torch.arange(4.0).view(4, 1, 1, 1, 1).expand(4, 5, 3, 2, 2))
    assert len(stacked) == 4
    assert [float(view.unique()) for view in stacked.sample(3)] == [3]
    views = Clips([torch.arange(6.0).view(6, 1, 1, 1, 1).expand(6, 5, 3, 2, 2)] * 2)
    assert len(views) == 2
    assert [float(view.unique()) for view in views.sample(1)] == [0, 1, 2, 3, 4, 5]


def test_mixed_batch_has_one_batch_of_each_kind_in_the_order_of_the_loader():
    labelled = [*samples_of(3, 4, 4, number=2), *samples_of(5, 3, 4, 4, number=3)]
    for samples, types, sizes in [
        (mixed_pairs(), [Views, Views], [3, 4]),
        (labelled, [Clips, Clips], [2, 3]),
        ([*labelled[:2], *pairs(2)], [Clips, Views], [2, 2]),
    ]:
        batch = as_batch(collate_by_kind(samples))
        assert [type(one) for one in batch.batches] == types
        assert [len(one) for one in batch.batches] == sizes
        assert len(batch) == len(samples)
    assert batch.batches[0].data_samples[1].gt_label.item() == 1


def test_mixed_batch_without_positions_has_one_batch_after_the_other():
    batch = Mixed([make('views'), make('image')])
    assert len(batch) == 14
    assert [float(view.unique()) for view in batch.sample(9)] == [2]


def test_ddp_can_copy_a_mixed_batch_to_a_device():
    inputs = make('mixed').inputs
    (copied,) = _recursive_to(inputs, torch.device('meta'), False)
    assert copied[1]['inputs'][0].device.type == 'meta'
    assert copied[1]['inputs'][0].shape == inputs[1]['inputs'][0].shape


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    'way',
    [copy.copy, lambda batch: pickle.loads(pickle.dumps(batch)), pin_memory],
    ids=['copy', 'between processes', 'pinned'],
)
def test_batch_keeps_its_type_and_content(kind, way, monkeypatch):
    monkeypatch.setattr(torch.Tensor, 'pin_memory', lambda tensor: tensor.clone())  # needs a GPU
    before = make(kind)
    after = way(before)
    assert type(after) is type(before) and len(after) == 7 and list(after) == list(before)
    assert all(torch.equal(*both) for both in zip(before.sample(6), after.sample(6), strict=True))


@pytest.mark.parametrize('kind', KINDS)
def test_preprocessor_keeps_the_type_and_the_input(kind):
    batch = make(kind)
    keys = list(batch)
    preprocessor = LabelledPreprocessor() if kind in ('image', 'clip') else ViewPreprocessor()
    out = preprocessor(batch, training=True)
    assert type(out) is type(batch) and len(out) == 7 and list(batch) == keys
    for i in (0, 6):
        for view, pixels in zip(out.sample(i), batch.sample(i), strict=True):
            torch.testing.assert_close(view, preprocessor.normalize(pixels))


@pytest.mark.parametrize('num_workers', [0, 1])
def test_loader_delivers_typed_batches(num_workers):
    for samples, collate, kind in [
        (pairs(), default_collate, Views),
        (samples_of(5, 3, 4, 4), pseudo_collate, Clips),
        (pairs(), collate_by_kind, Views),
        (samples_of(5, 3, 4, 4), collate_by_kind, Clips),
        (mixed_pairs(), collate_by_kind, Mixed),
    ]:
        loader = SteadyLoader(samples, batch_size=4, collate_fn=collate, num_workers=num_workers)
        batches = list(loader)
        assert [type(batch) for batch in batches] == [kind] * 2
        assert [len(batch) for batch in batches] == [4, 3]
        assert float(batches[1].sample(2)[0].unique()) == 6


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (torch.zeros(2), r'dict with `inputs`, got a tensor \(2,\). End the pipeline with'),
        (dict(img=1), 'dict with `inputs`, got a dict with img. End the pipeline with `PackViews`'),
        (
            dict(inputs=torch.zeros(2, 3, 4, 4)),
            r'each view in `inputs`, .* of clips, got a tensor \(2, 3, 4, 4\)',
        ),
        (
            pseudo_collate(pairs()),
            'got a list of 2, the first a tuple of 7.*default_collate.*collate_by_kind',
        ),
        (dict(inputs=[torch.zeros(2), torch.zeros(3)]), r'the same samples, got \[2, 3\] of them'),
        (
            dict(inputs=[[1]], data_samples=[1]),
            'each sample in `inputs`, got a list of 1, the first a list of 1, the first a int',
        ),
    ],
)
def test_invalid_batch_is_refused_with_its_type(data, message):
    with pytest.raises(DataError, match=message):
        as_batch(data)


@pytest.mark.parametrize(
    ('preprocessor', 'kind', 'message'),
    [
        (
            ViewPreprocessor(),
            'image',
            'ViewPreprocessor trains on Views, got a batch of Cl',
        ),
        (
            LabelledPreprocessor(),
            'views',
            'LabelledPreprocessor trains on Clips, got a batch of Views. End',
        ),
    ],
)
def test_training_batch_of_another_type_is_refused(preprocessor, kind, message):
    with pytest.raises(ConfigError, match=message):
        preprocessor(make(kind), training=True)
