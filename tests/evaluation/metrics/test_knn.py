# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from vicmae.errors import DataError
from vicmae.evaluation.evaluator import ProbeEvaluator
from vicmae.evaluation.metrics import KNNAccuracy, LinearProbeAccuracy, knn_predict
from vicmae.evaluation.metrics.knn import effective_rank, mean_cosine, relative_std
from vicmae.evaluation.metrics.probe import Probe
from vicmae.registry import MODELS
from vicmae.testing import randomize, toy_vicmae_config


def predict_slowly(queries, bank, labels, k, temperature):
    """Query by query: all similarities, the k highest, one vote after the other."""
    predicted = []
    for query in queries:
        similarities = [
            float(query @ row / np.linalg.norm(query) / np.linalg.norm(row)) for row in bank
        ]
        nearest = sorted(range(len(bank)), key=lambda i: -similarities[i])[:k]
        votes = dict.fromkeys(labels, 0.0)
        for i in nearest:
            votes[labels[i]] += math.exp(similarities[i] / temperature)
        predicted.append(max(votes, key=votes.get))
    return predicted


def make_features(num_queries=40, num_references=60, num_classes=4):
    centres = torch.randn(num_classes, 6)
    labels = torch.randint(0, num_classes, (num_references,))
    bank = centres[labels] + torch.randn(num_references, 6)
    queries = centres[torch.arange(num_queries) % num_classes] + torch.randn(num_queries, 6)
    return queries, bank, labels


def make_sample(probe, role, label, feature):
    return dict(
        probe=probe, role=role, gt_label=torch.tensor([label]), feature=torch.tensor(feature)
    )


def evaluate(samples, *metrics, **kwargs):
    """Through the evaluator of a run, two samples at a time."""
    evaluator = ProbeEvaluator([KNNAccuracy(**kwargs), *metrics])
    for i in range(0, len(samples), 2):
        evaluator.process(data_samples=samples[i : i + 2])
    return evaluator.evaluate(len(samples))


@pytest.mark.parametrize('k', [1, 5, 20])
@pytest.mark.parametrize('temperature', [0.07, 1.0])
def test_prediction_equals_a_loop_over_neighbours(k, temperature):
    queries, bank, labels = make_features()
    expected = predict_slowly(
        queries.double().numpy(), bank.double().numpy(), labels.tolist(), k, temperature
    )
    predicted = knn_predict(queries, bank, labels, k=k, temperature=temperature)
    assert predicted.tolist() == expected
    assert len(set(expected)) == 4


@pytest.mark.parametrize('k', [1, 10, 20])
def test_prediction_equals_scikit_learns(k):
    queries, bank, labels = make_features()
    # Half the squared distance of vectors of length 1 is 1 - cosine similarity.
    theirs = KNeighborsClassifier(k, weights=lambda d: np.exp((1 - d**2 / 2) / 0.07))
    theirs.fit(normalize(bank.double()), labels)
    expected = theirs.predict(normalize(queries.double()))
    assert knn_predict(queries, bank, labels, k=k).tolist() == expected.tolist()


def test_several_k_equal_each_k_alone():
    queries, bank, labels = make_features()
    parts = ('query', queries, torch.arange(40) % 4), ('bank', bank, labels)
    samples = [
        make_sample('p', role, int(label), feature.tolist())
        for role, features, labels in parts
        for label, feature in zip(labels, features, strict=True)
    ]
    several = evaluate(samples, k=[3, 100, 10])
    for k in (3, 10, 100):
        assert several[f'p/knn{k}_top1'] == evaluate(samples, k=k)['p/knn_top1']


def test_comparing_queries_in_parts_changes_nothing():
    queries, bank, labels = make_features(num_queries=1500)
    predicted = knn_predict(queries, bank, labels)
    apart = torch.cat([knn_predict(part, bank, labels) for part in queries.split(7)])
    assert torch.equal(predicted, apart)


def test_bank_smaller_than_k_votes_completely():
    queries, bank, labels = make_features(num_references=8)
    predicted = knn_predict(queries, bank, labels, k=20)
    assert torch.equal(predicted, knn_predict(queries, bank, labels, k=8))


def test_small_temperature_is_the_nearest_neighbour():
    queries, bank, labels = make_features()
    sharp = knn_predict(queries, bank, labels, k=20, temperature=0.001)
    assert torch.equal(sharp, knn_predict(queries, bank, labels, k=1))


@pytest.mark.parametrize(
    ('features', 'rank'),
    [
        (np.repeat(np.eye(4), 2, axis=0) * np.array([[1], [-1]] * 4), 4.0),  # +- each axis
        (np.outer(np.arange(9.0), [1.0, 2.0, 3.0]) + 5, 1.0),  # on a line
        (np.ones((7, 3)), 1.0),  # all the same
        # Singular values 3 and 1: entropy of (3/4, 1/4).
        ([[3, 0], [-3, 0], [0, 1], [0, -1]], math.exp(0.75 * math.log(4 / 3) + 0.25 * math.log(4))),
    ],
)
def test_effective_rank_of_known_matrices(features, rank):
    assert effective_rank(torch.tensor(np.array(features))) == pytest.approx(rank, rel=1e-6)


def test_effective_rank_of_noise_is_nearly_the_width_for_any_number_of_rows():
    for rows in (2000, 5000):
        assert 31 < effective_rank(torch.randn(rows, 32)) <= 32


def test_metric_reports_accuracy_chance_and_rank_for_each_probe():
    bank = [
        make_sample('images', 'bank', label, feature)
        for label, feature in [(0, [1.0, 0]), (0, [0.9, 0.1]), (1, [0, 1.0]), (1, [0.1, 0.9])]
    ]
    # Of four, the third is wrong; three are of class 0.
    queries = [
        make_sample('images', 'query', label, feature)
        for label, feature in [(0, [2.0, 0]), (0, [1.0, 0.2]), (0, [0, 1.0]), (1, [0, 3.0])]
    ]
    videos = [make_sample('videos', 'bank', i % 2, [1.0 - i % 2, i % 2]) for i in range(4)]
    videos += [make_sample('videos', 'query', i % 2, [1.0 - i % 2, i % 2]) for i in range(6)]
    metrics = evaluate([*bank, *queries, *videos], k=2)
    assert metrics.keys() == {
        f'{probe}/{name}'
        for probe in ('images', 'videos')
        for name in ('knn_top1', 'chance', 'effective_rank', 'mean_cosine', 'relative_std')
    }
    assert metrics['images/knn_top1'] == 75
    assert metrics['images/chance'] == 75
    assert metrics['videos/knn_top1'] == 100
    assert metrics['videos/chance'] == 50
    assert metrics['videos/effective_rank'] == pytest.approx(1)


def test_health_equals_a_loop_over_pairs_and_dimensions():
    features = torch.randn(9, 5).double() + 1
    rows = [row / np.linalg.norm(row) for row in features.numpy()]
    pairs = [float(a @ b) for i, a in enumerate(rows) for b in rows[:i]]
    assert mean_cosine(features) == pytest.approx(np.mean(pairs), abs=1e-12)
    stds = [np.std([row[d] for row in rows]) for d in range(5)]
    assert relative_std(features) == pytest.approx(np.mean(stds) * 5**0.5, abs=1e-12)
    assert math.isnan(mean_cosine(features[:1]))


def test_isotropic_features_have_zero_cosine_and_relative_std_of_one():
    features = torch.randn(20_000, 16)
    assert abs(mean_cosine(features)) < 1e-3
    assert relative_std(features) == pytest.approx(1, abs=0.01)


def test_collapse_shows_in_cosine_and_std_and_not_in_the_effective_rank(log):
    """Trains what must collapse: a loss of likeness alone, with a gradient through both sides."""
    images = torch.randn(64, 3, 2, 2).repeat_interleave(8, 2).repeat_interleave(8, 3)
    labels = torch.arange(64) % 4
    config = toy_vicmae_config(norm=None)
    config['head'].update(
        reconstruction=None, contrastive=dict(type='CosineLoss'), contrastive_weight=1.0
    )
    model = randomize(MODELS.build(config))

    def measure():
        with torch.no_grad():
            feature = model.eval().extract_feat(images)
        half = feature[:32], labels[:32], feature[32:], labels[32:]
        return KNNAccuracy(k=1, device='cpu').measure(Probe(*half, 'images'))

    healthy = measure()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        views = [images + 0.5 * torch.randn_like(images) for _ in range(2)]
        optimizer.zero_grad()
        sum(v for k, v in model.train().loss(views).items() if 'loss' in k).backward()
        optimizer.step()
    log.clear()
    collapsed = measure()
    assert collapsed['effective_rank'] > 0.9 * healthy['effective_rank']
    assert healthy['mean_cosine'] < 0.9 and collapsed['mean_cosine'] > 0.99
    assert collapsed['relative_std'] < 0.1 < healthy['relative_std']
    assert "features of the probe 'images' are nearly all the same: their mean cosine is" in log[0]


def test_order_of_samples_does_not_matter():
    queries, bank, labels = make_features()
    samples = [make_sample('p', 'query', i % 4, f.tolist()) for i, f in enumerate(queries)]
    samples += [
        make_sample('p', 'bank', int(label), f.tolist())
        for label, f in zip(labels, bank, strict=True)
    ]
    shuffled = [samples[i] for i in torch.randperm(len(samples))]
    assert evaluate(shuffled)['p/knn_top1'] == evaluate(samples)['p/knn_top1']


def test_samples_of_two_ranks_count_once():
    rows = [('bank', 0, [1.0, 0.0]), ('bank', 1, [0.0, 1.0]), ('query', 0, [1.0, 0.1])]
    rows += [('query', 1, [1.0, 0.2])]  # nearer to the wrong class
    samples = [
        {**make_sample('p', role, label, feature), 'path': '0.jpg', 'sample_idx': i}
        for i, (role, label, feature) in enumerate(rows)
    ]
    assert evaluate(samples, k=1)['p/knn_top1'] == 50
    assert evaluate([*samples, samples[2], samples[2]], k=1)['p/knn_top1'] == 50


def test_features_of_half_precision_are_accepted():
    samples = [make_sample('p', role, 0, [1.0, 0.5]) for role in ('bank', 'query')]
    for sample in samples:
        sample['feature'] = sample['feature'].bfloat16()
    assert evaluate(samples)['p/knn_top1'] == 100


@pytest.mark.parametrize(('given', 'missing'), [('bank', 'query'), ('query', 'bank')])
def test_probe_without_bank_or_query_is_refused(given, missing):
    with pytest.raises(DataError, match=f"'images' has no {missing}. It needs one source with"):
        evaluate([make_sample('images', given, 0, [1.0])])


def test_probe_that_cannot_be_measured_does_not_end_the_others(log):
    samples = [make_sample('videos', role, 0, [1.0]) for role in ('bank', 'query')]
    metrics = evaluate([make_sample('images', 'bank', 0, [1.0]), *samples])
    assert metrics['videos/knn_top1'] == 100
    assert math.isnan(metrics['images/knn_top1'])
    assert "'images' has no query" in metrics['images/knn_top1_not_measured']
    assert any("The probe 'images' is not measured by KNNAccuracy: " in line for line in log)


def test_metric_that_cannot_measure_a_probe_does_not_end_another_metric():
    samples = [
        make_sample('images', role, n, [1.0, n]) for role in ('bank', 'query') for n in (0, 1)
    ]
    metrics = evaluate(samples, LinearProbeAccuracy(device='cpu'))
    assert metrics['images/knn_top1'] == 100
    assert 'no sample is left' in metrics['images/linear_top1_not_measured']


@pytest.mark.parametrize('role', [None, 'train'])
def test_sample_without_a_role_is_refused_with_its_path(role):
    sample = {**make_sample('images', role, 0, [1.0]), 'path': 'cat/01.jpg'}
    with pytest.raises(DataError, match=rf"tags=dict.*got role {role!r} for 'cat/01.jpg'"):
        evaluate([sample])


def test_invalid_options_are_refused():
    with pytest.raises(ValueError, match='`k` must be at least 1, got 0'):
        KNNAccuracy(k=0)
    with pytest.raises(ValueError, match='`temperature` must be positive, got 0'):
        KNNAccuracy(temperature=0)


def test_classes_are_matched_by_name_if_folders_number_them_differently():
    # The queries' folder lacks class 'b', so that its 'c' has the number that 'b' has in the bank.
    near_b, near_c = [0.0, 1.0], [1.0, 0.0]
    samples = [
        {**make_sample('images', 'bank', 0, near_b), 'class_name': 'b'},
        {**make_sample('images', 'bank', 1, near_c), 'class_name': 'c'},
        {**make_sample('images', 'query', 0, near_c), 'class_name': 'c'},
    ]
    assert evaluate(samples, k=1)['images/knn_top1'] == 100


def test_non_finite_features_give_nan_for_their_probe_only():
    good, bad = [0.0, 1.0], [0.0, math.nan]
    samples = [make_sample('images', role, 0, bad) for role in ('bank', 'query')]
    samples += [make_sample('videos', role, 0, good) for role in ('bank', 'query')]
    metrics = evaluate(samples, k=1)
    assert math.isnan(metrics['images/knn_top1'])
    assert metrics['videos/knn_top1'] == 100


def test_queries_without_a_class_in_the_bank_are_refused():
    samples = [
        {**make_sample('images', 'bank', 0, [0.0, 1.0]), 'class_name': 'cat'},
        make_sample('images', 'query', 0, [0.0, 1.0]),  # from a list file: a number
    ]
    with pytest.raises(DataError, match="of classes like 0 with a bank of classes like 'cat'"):
        evaluate(samples)


def test_bank_smaller_than_k_is_reported(capsys):
    MMLogger.get_instance('small-bank')  # one that writes to where `capsys` looks
    bank = Probe(torch.eye(3), torch.arange(3), torch.eye(3), torch.arange(3), 'pictures')
    assert KNNAccuracy(k=[1, 5]).measure(bank)['knn5_top1'] == 100
    assert "'pictures' has 3 samples" in capsys.readouterr().out
    KNNAccuracy(k=[1, 3]).measure(bank)
    assert 'has 3 samples' not in capsys.readouterr().out
