# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample

from vicmae.models.heads import TransferHead


def make_samples(labels, shares=None):
    samples = [DataSample().set_gt_label(label) for label in labels]
    for sample, share in zip(samples, shares if shares is not None else [], strict=False):
        sample.set_gt_score(share)
    return samples


def test_smoothed_loss_equals_the_formula_for_labels_and_for_shares():
    head = TransferHead(
        5, 8, loss=dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1), init_std=1.0
    )
    head.init_weights()
    features, labels = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    logs = F.log_softmax(head.fc(features), dim=1)
    for shares in (None, torch.rand(6, 5).softmax(dim=1)):
        truth = F.one_hot(labels, 5).float() if shares is None else shares
        expected = -((0.9 * truth + 0.1 / 5) * logs).sum(dim=1).mean()
        samples = make_samples(labels.tolist(), shares)
        torch.testing.assert_close(head.loss((features,), samples)['loss'], expected)


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
def test_batch_norm_has_no_parameters_and_makes_features_equal_in_range(norm):
    head = TransferHead(3, 4, norm=norm)
    assert {name for name, _ in head.named_parameters()} == {'fc.weight', 'fc.bias'}
    features = torch.randn(64, 4) * torch.tensor([1e3, 1.0, 1e-1, 7.0]) + 5
    normed = head.train().pre_logits((features,))
    torch.testing.assert_close(normed.mean(dim=0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(normed.std(dim=0, unbiased=False), torch.ones(4), atol=1e-3, rtol=0)


def test_layer_norm_is_trained():
    names = {name for name, _ in TransferHead(3, 4, norm='LN').named_parameters()}
    assert names == {'fc.weight', 'fc.bias', 'norm.weight', 'norm.bias'}


def test_initial_weights_have_the_spread_of_init_std():
    head = TransferHead(100, 200, init_std=2e-5)
    head.init_weights()
    assert 1.5e-5 < head.fc.weight.std() < 2.5e-5
    assert not head.fc.bias.any()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_classes=1), 'num_classes. must be at least 2, got 1'),
        (dict(norm='GN'), "one of LN, BN, SyncBN or None, got 'GN'"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TransferHead(**{'num_classes': 3, 'in_dim': 4, **options})
