# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import csv

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank
from mmengine.evaluator import Evaluator

from vicmae.errors import DataError
from vicmae.evaluation.metrics import ClassAccuracy


def make_samples(scores, labels, paths=None, names=None, numbers=None):
    return [
        dict(
            pred_score=score,
            gt_label=torch.tensor([label]),
            sample_idx=numbers[i] if numbers else i,
            path=paths[i] if paths else f'{i}.jpg',
            class_name=names[label] if names else None,
        )
        for i, (score, label) in enumerate(zip(scores, labels, strict=True))
    ]


def evaluate(samples, **kwargs):
    evaluator = Evaluator([ClassAccuracy(**kwargs)])
    for i in range(0, len(samples), 3):
        evaluator.process(data_samples=samples[i : i + 3])
    return evaluator.evaluate(len(samples))


def test_each_head_has_metrics_and_files_of_its_own(tmp_path):
    torch.manual_seed(0)
    sizes, classes = dict(images=20, videos=9), dict(images=6, videos=3)
    heads = {
        name: make_samples(torch.randn(n, c).softmax(dim=1), [i % c for i in range(n)])
        for (name, n), c in zip(sizes.items(), classes.values(), strict=True)
    }
    expected = {
        metric.replace('accuracy/', f'accuracy/{name}/'): value
        for name, samples in heads.items()
        for metric, value in evaluate(samples, topk=(1, 5)).items()
    }
    mixed = [dict(sample, head=name) for name, samples in heads.items() for sample in samples]
    mixed = [dict(sample, sample_idx=i) for i, sample in enumerate(mixed[::2] + mixed[1::2])]
    paths = {name: str(tmp_path / f'{name}.csv') for name in ('predictions', 'confusion')}
    found = evaluate(
        mixed,
        topk=(1, 5),
        predictions_file=paths['predictions'],
        confusion_file=paths['confusion'],
    )
    # There are three classes of videos, and so no top5 of both.
    for metric in ('top1', 'mean_class'):
        both = [expected[f'accuracy/{name}/{metric}'] for name in heads]
        expected[f'accuracy/mean/{metric}'] = np.mean(both)
    assert found == pytest.approx(expected)
    for name, size in sizes.items():
        rows = list(csv.reader((tmp_path / f'predictions_{name}.csv').open()))
        assert len(rows) == 1 + size
        rows = list(csv.reader((tmp_path / f'confusion_{name}.csv').open()))
        assert len(rows) == 1 + classes[name]


def test_metrics_equal_a_loop_over_samples(tmp_path):
    torch.manual_seed(0)
    labels = torch.randint(0, 6, (200,)).clamp(max=4).tolist()
    labels[:6] = range(6)
    scores = torch.randn(200, 6).softmax(dim=1)
    path = tmp_path / 'deep/confusion.csv'
    names = ['ant', 'bee', 'cat', 'dog', 'elk', 'fox']
    samples = make_samples(scores, labels, names=names)
    found = evaluate(samples, topk=(1, 5), confusion_file=str(path))
    matrix = np.zeros((6, 6), dtype=int)
    among_five = 0
    for score, label in zip(scores.tolist(), labels, strict=True):
        ranked = sorted(range(6), key=lambda c: -score[c])
        matrix[label, ranked[0]] += 1
        among_five += label in ranked[:5]
    assert found == pytest.approx(
        {
            'accuracy/top1': 100 * matrix.trace() / 200,
            'accuracy/top5': 100 * among_five / 200,
            'accuracy/mean_class': 100
            * np.mean([row[i] / row.sum() for i, row in enumerate(matrix)]),
        }
    )
    rows = list(csv.reader(path.open(encoding='utf-8')))
    assert rows[0] == ['true class', *names]
    assert [row[0] for row in rows[1:]] == names
    assert np.array_equal(np.array([row[1:] for row in rows[1:]], dtype=int), matrix)


def test_score_that_is_rounded_to_zero_can_still_be_right():
    found = evaluate(make_samples(torch.zeros(2, 3), [0, 0]), topk=(3,))
    assert found['accuracy/top3'] == 100


def test_sample_of_two_ranks_counts_once():
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    scores = torch.tensor([right, wrong, wrong])
    padded = make_samples(scores, [0, 0, 0], paths=['a', 'b', 'b'], numbers=[0, 1, 1])
    assert evaluate(padded, topk=(1,))['accuracy/top1'] == 50
    named_twice = make_samples(scores, [0, 0, 1], paths=['a', 'b', 'b'])
    assert evaluate(named_twice, topk=(1,))['accuracy/top1'] == pytest.approx(200 / 3)


def test_class_without_a_sample_is_reported_and_left_out_of_the_mean(log):
    scores = torch.eye(3)[[0, 0, 0, 2]]
    found = evaluate(make_samples(scores, [0, 0, 2, 2]), topk=(1,))
    assert found['accuracy/mean_class'] == pytest.approx(75)
    assert '1 of 3 classes have no sample in the test set (1)' in ''.join(log)


def test_more_predictions_than_classes_are_left_out():
    found = evaluate(make_samples(torch.eye(3), [0, 1, 2]))
    assert found == {'accuracy/top1': 100, 'accuracy/mean_class': 100}


def test_label_without_a_class_in_the_head_is_refused_with_its_file():
    with pytest.raises(DataError, match="label of '1.jpg' is 7, but the head has 3 classes"):
        evaluate(make_samples(torch.eye(3)[:2], [0, 7]), topk=(1,))


@pytest.mark.parametrize('topk', [(), (0, 1)])
def test_topk_counts_from_one(topk):
    with pytest.raises(ValueError, match='topk. must be numbers from 1 on'):
        ClassAccuracy(topk=topk)


def test_predictions_are_written_with_those_of_each_view(tmp_path):
    path = tmp_path / 'deep/predictions.csv'
    views = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.1, 0.2, 0.7]])
    samples = make_samples([views.mean(dim=0)], [2], ['odd\udcff.mp4'], names=['ant', 'bee', 'cat'])
    samples[0]['view_scores'] = views
    evaluate(samples, topk=(1,), predictions_file=str(path))
    rows = list(csv.reader(path.open(encoding='utf-8', errors='surrogateescape')))
    assert rows == [
        ['path', 'true class', 'predicted', 'share', 'view 1', 'view 2', 'view 3'],
        ['odd\udcff.mp4', 'cat', '0', '0.4000', '0', 'cat', 'cat'],
    ]


def test_predictions_of_one_view_have_no_columns_for_views(tmp_path):
    path = tmp_path / 'predictions.csv'
    evaluate(make_samples(torch.eye(2), [0, 0]), topk=(1,), predictions_file=str(path))
    assert list(csv.reader(path.open())) == [
        ['path', 'true class', 'predicted', 'share'],
        ['0.jpg', '0', '0', '1.0000'],
        ['1.jpg', '0', '1', '1.0000'],
    ]


def _evaluate_shares(of_ranks, size):
    evaluator = Evaluator([ClassAccuracy(topk=(1,))])
    evaluator.process(data_samples=of_ranks[get_rank()])
    return evaluator.evaluate(size)


@pytest.mark.parametrize('bad', [None, 0, 1, 4])
def test_sample_counts_once_with_uneven_ranks(gloo_pool, bad):
    scores, labels = torch.eye(3)[[0, 1, 2, 0, 1]], [0, 1, 2, 1, 1]
    samples = make_samples(scores, labels)
    # Three for each rank, the first sample once more; one file may be one that couldn't be read.
    shares = [
        [samples[number] for number in numbers if number != bad]
        for numbers in ([0, 2, 4], [1, 3, 0])
    ]
    expected = 100 * (0.8 if bad is None else 0.75)  # the fourth is wrong
    for figures in gloo_pool.run(_evaluate_shares, 2, shares, 5):
        assert figures['accuracy/top1'] == pytest.approx(expected)
