# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from vicmae.models.data_preprocessors import LabelledPreprocessor, ViewPreprocessor
from vicmae.registry import MODELS
from vicmae.testing import toy_transfer_config


def make_batch(size=4):
    """Images of one colour each, so that it shows what was mixed with what."""
    inputs = [torch.full((3, 16, 16), 40 * i, dtype=torch.uint8) for i in range(size)]
    return dict(inputs=inputs, data_samples=[DataSample().set_gt_label(i) for i in range(size)])


def test_unmixed_images_are_normalised_and_keep_their_labels():
    out = LabelledPreprocessor()(make_batch(), training=True)
    expected = ViewPreprocessor().normalize(torch.stack(make_batch()['inputs']))
    assert torch.equal(out['inputs'], expected)
    assert [int(s.gt_label) for s in out['data_samples']] == [0, 1, 2, 3]
    assert not any('gt_score' in s for s in out['data_samples'])


@pytest.mark.parametrize('kind', ['mixup_alpha', 'cutmix_alpha'])
def test_shares_of_classes_are_the_shares_of_pixels(kind):
    preprocessor = LabelledPreprocessor(num_classes=4, **{kind: 1.0})
    torch.manual_seed(1)
    out = preprocessor(make_batch(), training=True)
    shades = torch.tensor([0.0, 40.0, 80.0, 120.0])
    mean = (out['inputs'] * preprocessor.std + preprocessor.mean).mean(dim=(1, 2, 3))
    shares = torch.stack([s.gt_score for s in out['data_samples']])
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(shares @ shades, mean, atol=1e-3, rtol=1e-3)
    assert not torch.equal(shares, torch.eye(4))


def test_mixing_depends_only_on_the_seed_of_the_step():
    preprocessor = LabelledPreprocessor(num_classes=4, mixup_alpha=0.8, cutmix_alpha=1.0)
    found = []
    for noise in range(2):
        np.random.seed(noise)
        torch.manual_seed(5)
        found.append(preprocessor(make_batch(), training=True)['inputs'])
        assert np.random.randint(2**31) == np.random.RandomState(noise).randint(2**31)
    assert torch.equal(*found)


def test_nothing_is_mixed_in_evaluation():
    preprocessor = LabelledPreprocessor(num_classes=4, mixup_alpha=0.8)
    batch = make_batch()
    batch['inputs'] = [image[None] for image in batch['inputs']]
    out = preprocessor(batch, training=False)
    assert [tuple(clip.shape) for clip in out['inputs']] == [(1, 3, 16, 16)] * 4
    assert torch.equal(out['inputs'][2], preprocessor.normalize(batch['inputs'][2]))


def test_preprocessor_gets_the_number_of_classes_from_the_classifier():
    preprocessor = dict(type='LabelledPreprocessor', mixup_alpha=0.8)
    model = MODELS.build(toy_transfer_config(data_preprocessor=preprocessor))
    assert model.data_preprocessor.num_classes == 4


def test_invalid_mixing_options_are_refused():
    with pytest.raises(ValueError, match='need .num_classes., got None'):
        LabelledPreprocessor(mixup_alpha=0.8)
    with pytest.raises(ValueError, match='cutmix_alpha. must not be negative, got -1'):
        LabelledPreprocessor(num_classes=4, cutmix_alpha=-1.0)


@pytest.mark.parametrize('kind', ['mixup_alpha', 'cutmix_alpha'])
def test_all_frames_of_a_clip_are_mixed_equally(kind):
    preprocessor = LabelledPreprocessor(num_classes=4, **{kind: 1.0})
    batch = make_batch()
    clips = dict(batch, inputs=[image.expand(5, -1, -1, -1) for image in batch['inputs']])
    found = []
    for given in (clips, make_batch()):
        torch.manual_seed(1)
        found.append(preprocessor(given, training=True))
    mixed, images = found[0]['inputs'], found[1]['inputs']
    assert mixed.shape == (4, 5, 3, 16, 16)
    assert torch.equal(mixed, images[:, None].expand_as(mixed))
    shares = [torch.stack([s.gt_score for s in out['data_samples']]) for out in found]
    assert torch.equal(*shares)
    assert not torch.equal(mixed[:, 0], preprocessor.normalize(torch.stack(batch['inputs'])))
