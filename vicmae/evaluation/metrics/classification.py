# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Metrics of a classifier. S samples, c classes."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmpretrain.evaluation import Accuracy, ConfusionMatrix
from torch import Tensor

from vicmae.errors import DataError
from vicmae.registry import METRICS
from vicmae.utils.log import warn
from vicmae.utils.names import name_some

from .predictions import each_once


@METRICS.register_module()
class ClassAccuracy(BaseMetric):
    """Top-k accuracies, and the mean over the classes of their top-1 accuracies.

    Samples have `pred_score` and `gt_label`. Reports in percent: `topK` for each k, and `mean_class`, in which a rare
    class counts as much as a frequent one. A sample that two ranks got counts once. For a model with several heads,
    such as `SupervisedJoint`, it reports these for each head (`images/top1`), and their means over the heads
    (`mean/top1`). Files then have the head in their names: `predictions_images.csv`.

    Args:
        topk: Numbers of predictions per sample that may contain the true class. Those above the number of classes are
            left out.
        confusion_file: CSV file for the confusion matrix, true classes in rows; None for none. `vicmae test` writes
            `confusion_matrix.csv` into the work directory.
        predictions_file: CSV file for the prediction of each sample and view; None for none. `vicmae test` writes
            `predictions.csv` into the work directory.
        collect_device: Device on which results of ranks are gathered.
        prefix: Prefix of the names.
    """

    default_prefix = 'accuracy'

    def __init__(
        self,
        topk: Sequence[int] = (1, 5),
        *,
        confusion_file: str | None = None,
        predictions_file: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not topk or min(topk) < 1:
            raise ValueError(f'`topk` must be numbers from 1 on, got {topk}.')
        self.topk = tuple(topk)
        self.confusion_file = confusion_file
        self.predictions_file = predictions_file

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keeps scores and label of each sample."""
        for sample in data_samples:
            scores = sample['pred_score'].float().cpu()
            label = int(sample['gt_label'])
            if not 0 <= label < len(scores):
                head = f'heads.{sample["head"]}' if sample.get('head') else 'head'
                raise DataError(
                    f'The label of {sample.get("path")!r} is {label}, but the head has {len(scores)} classes, from 0 '
                    f'on. Set `model.{head}.num_classes`, or correct the label.'
                )
            views = sample.get('view_scores', scores[None])
            row = dict(scores=scores.numpy(), label=label, views=views.argmax(dim=1).tolist())
            row |= {key: sample.get(key) for key in ('class_name', 'path', 'sample_idx', 'head')}
            self.results.append(row)

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Computes the accuracies, and writes the files."""
        rows = each_once(results)
        heads = sorted({row['head'] for row in rows if row['head']})
        if not heads:
            return self._compute(rows)
        of_heads = {
            head: self._compute([r for r in rows if r['head'] == head], head) for head in heads
        }
        metrics = {
            f'{head}/{k}': value for head, own in of_heads.items() for k, value in own.items()
        }
        if len(heads) > 1:
            shared = set.intersection(*(set(own) for own in of_heads.values()))
            for name in [name for name in of_heads[heads[0]] if name in shared]:
                values = [own[name] for own in of_heads.values()]
                metrics[f'mean/{name}'] = sum(values) / len(values)
        return metrics

    def _compute(self, rows: Sequence[dict[str, Any]], head: str = '') -> dict[str, float]:
        """Computes the accuracies of one head."""
        scores = torch.stack([torch.from_numpy(row['scores']) for row in rows])  # (S, c)
        labels = torch.tensor([row['label'] for row in rows])
        # No threshold: mmpretrain's default, 0, counts a score that is rounded to 0 as wrong.
        topk = [k for k in self.topk if k <= scores.shape[1]]
        shares = Accuracy.calculate(scores, labels, topk=topk, thrs=(None,)) if topk else ()
        metrics = {f'top{k}': share[0].item() for k, share in zip(topk, shares, strict=True)}
        confusion = ConfusionMatrix.calculate(scores, labels, num_classes=scores.shape[1])
        metrics['mean_class'] = mean_class_accuracy(confusion)
        names = {label: str(label) for label in range(len(confusion))}
        names |= {row['label']: row['class_name'] for row in rows if row['class_name']}
        if self.confusion_file:
            counts = zip(names.values(), confusion.tolist(), strict=True)
            table = [['true class', *names.values()], *([name, *row] for name, row in counts)]
            _write_csv(_of_head(self.confusion_file, head), table)
        if self.predictions_file:
            _write_csv(_of_head(self.predictions_file, head), _predictions(rows, names))
        return metrics


def mean_class_accuracy(confusion: Tensor) -> float:
    """Averages the accuracies of the classes that have samples, in percent, of a matrix (c, c)."""
    counts = confusion.sum(dim=1)
    empty = [str(label) for label in torch.nonzero(counts == 0).flatten().tolist()]
    if empty:
        warn(
            f'{len(empty)} of {len(counts)} classes have no sample in the test set '
            f'({name_some(empty)}): `mean_class` is the mean over the others.'
        )
    accuracies = confusion.diagonal().double()[counts > 0] / counts[counts > 0]
    return 100 * accuracies.mean().item()


def _predictions(rows: Sequence[dict[str, Any]], names: dict[int, str]) -> Iterator[list[Any]]:
    """Lists the prediction of each sample, with its score, and of each of its views."""
    most_views = max(len(row['views']) for row in rows)
    titles = [f'view {number}' for number in range(1, most_views + 1)] if most_views > 1 else []
    yield ['path', 'true class', 'predicted', 'share', *titles]
    for row in rows:
        predicted = int(row['scores'].argmax())
        views = [names[label] for label in row['views']] if titles else []
        share = f'{row["scores"][predicted]:.4f}'
        yield [row['path'], names[row['label']], names[predicted], share, *views]


def _of_head(path: str, head: str) -> str:
    """Adds the name of a head to that of a file: 'predictions_images.csv'."""
    stem, extension = os.path.splitext(path)
    return f'{stem}_{head}{extension}' if head else path


def _write_csv(path: str, rows: Iterable[list[Any]]) -> None:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    # Names of files may not be Unicode.
    with open(path, 'w', newline='', encoding='utf-8', errors='surrogateescape') as file:
        csv.writer(file).writerows(rows)
