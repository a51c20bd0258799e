# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmpretrain.structures import DataSample

from vicmae.models.data_preprocessors import JointPreprocessor
from vicmae.structures import NO_LABEL

CLASSES = dict(images=4, videos=3)


def make_batch():
    """Images and clips of one colour each, in disorder, so that it shows what was mixed with what."""
    rows = [
        ((3, 8, 8), 0, 'images', 10),
        ((2, 3, 8, 8), 0, 'videos', 120),
        ((3, 8, 8), NO_LABEL, 'images', 250),
        ((3, 8, 8), 3, 'images', 40),
        ((2, 3, 8, 8), 2, 'videos', 180),
    ]
    inputs = [torch.full(shape, colour, dtype=torch.uint8) for shape, *_, colour in rows]
    samples = [DataSample(metainfo=dict(source=row[2])).set_gt_label(row[1]) for row in rows]
    return dict(inputs=inputs, data_samples=samples)


def test_without_mixing_each_sample_is_normalised_in_its_place():
    preprocessor = JointPreprocessor(num_classes=CLASSES)
    out = preprocessor(make_batch(), training=True)
    for found, given in zip(out['inputs'], make_batch()['inputs'], strict=True):
        assert torch.equal(found, preprocessor.normalize(given))
    assert [s.head for s in out['data_samples']] == ['images', 'videos', None, 'images', 'videos']
    assert [int(s.gt_label) for s in out['data_samples']] == [0, 0, NO_LABEL, 3, 2]


@pytest.mark.parametrize('kind', ['mixup_alpha', 'cutmix_alpha'])
def test_only_labelled_samples_of_one_head_are_mixed(kind):
    preprocessor = JointPreprocessor(num_classes=CLASSES, **{kind: 1.0})
    torch.manual_seed(2)
    out = preprocessor(make_batch(), training=True)
    colours = dict(images=torch.tensor([10.0, 0, 0, 40]), videos=torch.tensor([120.0, 0, 180]))
    mixed = 0
    for pixels, sample, given in zip(*out.values(), make_batch()['inputs'], strict=True):
        mean = (pixels * preprocessor.std + preprocessor.mean).mean().item()
        if sample.head is None:
            assert 'gt_score' not in sample
            assert torch.equal(pixels, preprocessor.normalize(given))
        else:
            share = sample.gt_score @ colours[sample.head]
            assert share.item() == pytest.approx(mean, abs=1e-3)
            assert len(sample.gt_score) == CLASSES[sample.head]
            mixed += 0 < sample.gt_score.max() < 1
    assert mixed
