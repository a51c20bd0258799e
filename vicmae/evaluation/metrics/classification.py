# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""How often a classifier is right. S samples, c classes."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmpretrain.evaluation import Accuracy, ConfusionMatrix
from torch import Tensor

from vicmae.errors import ConfigError, DataError
from vicmae.registry import METRICS
from vicmae.utils.log import warn
from vicmae.utils.names import name_some

from .predictions import each_once


@METRICS.register_module()
class ClassAccuracy(BaseMetric):
    """Share of samples whose class is among the k that are predicted first, and the mean of each class's own share.

    Samples carry `pred_score` and `gt_label`. Reports in percent: `topK` for each k, and `mean_class`, in which a rare
    class counts as much as a frequent one. A sample that two ranks got, so that all have equally many, counts once.

    Args:
        topk: How many predictions of a sample may hold the right one.
        confusion_file: CSV file for the number of samples of each class (rows) that each class was predicted for
            (columns); None for none. tools/test.py writes `confusion_matrix.csv` into the work directory.
        predictions_file: CSV file for what was predicted for each sample, and for each view of it; None for none.
            tools/test.py writes `predictions.csv` into the work directory.
        collect_device: Where results of several ranks are gathered.
        prefix: Put in front of the names.
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
            if len(scores) < max(self.topk):
                raise ConfigError(
                    f'`topk` of ClassAccuracy is {self.topk}, but there are {len(scores)} classes only. Leave out what '
                    'is larger: `val_evaluator.topk`, `test_evaluator.topk`.'
                )
            label = int(sample['gt_label'])
            if not 0 <= label < len(scores):
                raise DataError(
                    f'The label of {sample.get("path")!r} is {label}, and the head has {len(scores)} classes, from 0 '
                    'on. Set `model.head.num_classes`, or label the sample otherwise.'
                )
            row = dict(scores=scores.numpy(), label=label, name=sample.get('class_name'))
            views = sample.get('view_scores', scores[None])
            row.update(path=sample.get('path'), sample_idx=sample.get('sample_idx'))
            row.update(views=views.argmax(dim=1).tolist())
            self.results.append(row)

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Computes the figures, and writes the confusion matrix."""
        rows = each_once(results)
        scores = torch.stack([torch.from_numpy(row['scores']) for row in rows])  # (S, c)
        labels = torch.tensor([row['label'] for row in rows])
        # No threshold: mmpretrain's own, 0, counts a share that is rounded to 0 as wrong.
        shares = Accuracy.calculate(scores, labels, topk=self.topk, thrs=(None,))
        figures = {f'top{k}': share[0].item() for k, share in zip(self.topk, shares, strict=True)}
        confusion = ConfusionMatrix.calculate(scores, labels, num_classes=scores.shape[1])
        figures['mean_class'] = mean_class_accuracy(confusion)
        names = {row['label']: row['name'] for row in rows if row['name']}
        if self.confusion_file:
            write_confusion(Path(self.confusion_file), confusion, names)
        if self.predictions_file:
            write_predictions(Path(self.predictions_file), rows, names)
        return figures


def mean_class_accuracy(confusion: Tensor) -> float:
    """The mean over classes of the percentage of their samples that is right; classes without samples are left out.

    Shape:
        samples of each class by predicted class (c, c)
    """
    counts = confusion.sum(dim=1)
    empty = [str(label) for label in torch.nonzero(counts == 0).flatten().tolist()]
    if empty:
        warn(
            f'{len(empty)} of {len(counts)} classes have no sample in the set that is tested on '
            f'({name_some(empty)}): `mean_class` is the mean over the others.'
        )
    own = confusion.diagonal().double()[counts > 0] / counts[counts > 0]
    return 100 * own.mean().item()


def write_confusion(path: Path, confusion: Tensor, names: dict[int, str]) -> None:
    """Writes a confusion matrix as CSV: true classes down, predicted ones across.

    Args:
        path: The file.
        confusion: (c, c)
        names: Of classes by label, where they are known.
    """
    titles = [names.get(label, str(label)) for label in range(len(confusion))]
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['true class', *titles])
        for title, row in zip(titles, confusion.tolist(), strict=True):
            writer.writerow([title, *row])


def write_predictions(path: Path, rows: Sequence[dict[str, Any]], names: dict[int, str]) -> None:
    """Writes what was predicted for each sample as CSV, and what each of its views alone would have been taken for.

    Args:
        path: The file.
        rows: Of samples: `path`, `label`, `scores` (c,) and `views`, the class predicted for each.
        names: Of classes by label, where they are known.
    """

    def title(label: int) -> str:
        return names.get(label, str(label))

    path.parent.mkdir(parents=True, exist_ok=True)
    most_views = max(len(row['views']) for row in rows)
    titles = [f'view {number}' for number in range(1, most_views + 1)] if most_views > 1 else []
    # Names of files can hold anything.
    with open(path, 'w', newline='', encoding='utf-8', errors='surrogateescape') as file:
        writer = csv.writer(file)
        writer.writerow(['path', 'true class', 'predicted', 'share', *titles])
        for row in rows:
            predicted = int(row['scores'].argmax())
            own = [title(label) for label in row['views']] if titles else []
            share = f'{row["scores"][predicted]:.4f}'
            writer.writerow([row['path'], title(row['label']), title(predicted), share, *own])
