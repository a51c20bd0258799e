# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from vicmae.errors import DataError
from vicmae.evaluation.metrics import (
    LinearProbeAccuracy,
    LogisticAccuracy,
    fit_heads,
    fit_logistic_regression,
)
from vicmae.evaluation.metrics.linear_probe import split_classes
from vicmae.evaluation.metrics.probe import Probe


def make_probe(num_references=90, num_queries=60, num_classes=3, width=5):
    centres = torch.randn(num_classes, width)
    bank_labels = torch.arange(num_references) % num_classes
    query_labels = torch.arange(num_queries) % num_classes
    spread = torch.tensor([1.0, 3.0, 0.2, 1.0, 10.0])  # features aren't of one range
    bank = (centres[bank_labels] + torch.randn(num_references, width)) * spread
    queries = (centres[query_labels] + torch.randn(num_queries, width)) * spread
    return Probe(bank, bank_labels, queries, query_labels)


def softmax(scores):
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def descend_slowly(features, labels, lr, *, order, epochs, batch_size, momentum, weight_decay):
    """SGD as the formulas have it, one head, one batch after the other."""
    width, classes = features.shape[1], labels.max() + 1
    weights = np.zeros((width + 1, classes))
    velocity = np.zeros_like(weights)
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    batches = [
        order[e][i : i + batch_size]
        for e in range(epochs)
        for i in range(0, len(labels), batch_size)
    ]
    for step, ids in enumerate(batches):
        x, wanted = features[ids], np.eye(classes)[labels[ids]]
        gradient = x.T @ (softmax(x @ weights) - wanted) / len(ids) + weight_decay * weights
        velocity = momentum * velocity + gradient
        weights -= lr * (1 + np.cos(np.pi * step / len(batches))) / 2 * velocity
    return weights


@pytest.mark.parametrize('strength', [0.1, 1.0, 10.0])
def test_logistic_regression_is_scikit_learns(strength):
    probe = make_probe().standardized()
    theirs = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000)
    theirs.fit(probe.bank.double().numpy(), probe.bank_labels.numpy())
    head = fit_logistic_regression(probe.bank, probe.bank_labels, 3, strength=strength)
    np.testing.assert_allclose(head.weight.detach(), theirs.coef_, atol=1e-4)
    # The sum of all biases moves no prediction.
    bias = head.bias.detach().numpy()
    expected = theirs.intercept_ - theirs.intercept_.mean()
    np.testing.assert_allclose(bias - bias.mean(), expected, atol=1e-4)


def test_logistic_accuracy_is_that_of_scikit_learns_pipeline():
    probe = make_probe()
    scaler = StandardScaler().fit(probe.bank)
    theirs = LogisticRegression(tol=1e-8, max_iter=10_000)
    theirs.fit(scaler.transform(probe.bank), probe.bank_labels)
    expected = 100 * theirs.score(scaler.transform(probe.queries), probe.query_labels)
    assert LogisticAccuracy(device='cpu').measure(probe)['logistic_top1'] == pytest.approx(expected)
    assert 40 < expected < 100


def test_heads_follow_the_formulas_of_sgd():
    probe = make_probe().standardized()
    features = probe.bank.double()
    generator = torch.Generator().manual_seed(7)
    order = [torch.randperm(90, generator=generator).numpy() for _ in range(3)]
    settings = dict(epochs=3, batch_size=32, momentum=0.9, weight_decay=0.01)
    lrs = (0.03, 0.3)
    heads = fit_heads(features, probe.bank_labels, 3, lrs=lrs, seed=7, **settings)
    for lr, head in zip(lrs, heads, strict=True):
        expected = descend_slowly(
            features.numpy(), probe.bank_labels.numpy(), lr, order=order, **settings
        )
        np.testing.assert_allclose(head.weight.detach(), expected[:-1].T, atol=1e-12)
        np.testing.assert_allclose(head.bias.detach(), expected[-1], atol=1e-12)


def test_each_head_of_a_sweep_is_trained_independently():
    probe = make_probe().standardized()
    together = fit_heads(probe.bank, probe.bank_labels, 3, lrs=(0.01, 0.1, 1.0), epochs=5)
    (alone,) = fit_heads(probe.bank, probe.bank_labels, 3, lrs=(0.1,), epochs=5)
    assert torch.equal(together[1].weight, alone.weight)
    assert torch.equal(together[1].bias, alone.bias)


def test_learning_rate_is_chosen_without_the_queries():
    probe = make_probe()
    other = Probe(probe.bank, probe.bank_labels, torch.randn(60, 5), probe.query_labels)
    metric = LinearProbeAccuracy(lrs=(0.01, 0.1, 0.3), epochs=10, device='cpu')
    figures = [metric.measure(p) for p in (probe, other)]
    assert figures[0]['linear_lr'] == figures[1]['linear_lr']
    assert figures[0]['linear_top1'] == figures[0][f'linear_top1_lr{figures[0]["linear_lr"]:g}']
    assert list(figures[0]) == metric.names()
    assert figures[0]['linear_top1'] > 50 > figures[1]['linear_top1']


def test_mean_class_accuracy_weights_classes_equally():
    bank = torch.tensor([[-1.0], [-1.1], [1.0], [1.1]])
    labels = torch.tensor([0, 0, 1, 1])
    # Three of class 0, all right; one of class 1, wrong.
    probe = Probe(
        bank, labels, torch.tensor([[-1.0], [-2.0], [-3.0], [-1.0]]), torch.tensor([0, 0, 0, 1])
    )
    figures = LogisticAccuracy(device='cpu').measure(probe)
    assert figures == dict(logistic_top1=75.0, logistic_mean_class=50.0)


def test_held_out_samples_are_of_each_class_and_not_among_the_others():
    labels = torch.tensor([0] * 20 + [1] * 10 + [2] * 2 + [3])
    seen, held = split_classes(labels, 0.1, seed=3)
    assert labels[held].bincount(minlength=4).tolist() == [2, 1, 1, 0]
    assert sorted([*seen.tolist(), *held.tolist()]) == list(range(33))


def test_constant_feature_dimension_is_accepted():
    probe = make_probe()
    probe.bank[:, 1] = probe.queries[:, 1] = 4.0
    assert torch.isfinite(probe.standardized().bank).all()
    assert LogisticAccuracy(device='cpu').measure(probe)['logistic_top1'] > 40


def test_bank_of_one_class_is_refused():
    probe = Probe(torch.randn(4, 2), torch.zeros(4).long(), torch.randn(2, 2), torch.tensor([0, 1]))
    with pytest.raises(DataError, match='at least two classes in its bank, got one'):
        LogisticAccuracy(device='cpu').measure(probe)


def test_one_sample_per_class_is_too_few_to_choose_a_learning_rate():
    probe = Probe(torch.randn(3, 2), torch.arange(3), torch.randn(6, 2), torch.arange(6) % 3)
    with pytest.raises(DataError, match=r'one sample of each class.*`lrs=\[0.1\]`'):
        LinearProbeAccuracy(lrs=(0.01, 0.1, 1.0), device='cpu').measure(probe)
    assert 'linear_top1' in LinearProbeAccuracy(lrs=(0.1,), epochs=2, device='cpu').measure(probe)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(lrs=()), r'`lrs` must be positive numbers, got \(\)'),
        (dict(lrs=(0.1, -1)), r'`lrs` must be positive numbers, got \(0.1, -1\)'),
        (dict(holdout=1.0), '`holdout` must be between 0 and 1, got 1.0'),
        (dict(epochs=0), '`epochs` and `batch_size` must be at least 1, got 0 and 1024'),
    ],
)
def test_invalid_options_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LinearProbeAccuracy(**settings)
    with pytest.raises(ValueError, match='`strength` must be positive, got 0'):
        LogisticAccuracy(strength=0)
