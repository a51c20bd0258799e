# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checks that all data sets, the head and the checkpoint use the same class ids."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.hooks import Hook

from vicmae.errors import ConfigError, DataError
from vicmae.registry import HOOKS
from vicmae.utils.distributed import unwrapped
from vicmae.utils.names import name_some


@HOOKS.register_module()
class ClassFitHook(Hook):
    """Refuses data sets whose class ids differ from each other, from the head's or from the checkpoint's.

    Class folders are numbered in the order of their names: one more in one of the sets shifts all labels after it, and
    accuracies fall without a message.
    """

    priority = 'VERY_HIGH'
    _trained_on: tuple[str, ...] | None = None

    def before_train(self, runner: Any) -> None:
        """Compares training set, head and validation set before the first step."""
        train = runner.train_dataloader.dataset
        require_fit(train, _num_classes(runner), 'training')
        self._warn_of_empty_classes(runner, train)
        if runner.val_loop is not None:
            val = runner.val_loop.dataloader.dataset
            require_same_classes(classes_of(train), classes_of(val), 'validation')
            if (classes_of(train) is None) != (classes_of(val) is None):
                runner.logger.warning(
                    'One of the training and validation sets has names of classes (folders, or names in its list) and '
                    'the other numbers alone: whether they mean the same classes is not known. Names are numbered in '
                    'their order, from 0 on.'
                )
            require_fit(val, _num_classes(runner), 'validation')

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Keeps the classes that a checkpoint was trained on."""
        meta = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
        self._trained_on = tuple(meta.get('classes') or ()) or None

    def before_test(self, runner: Any) -> None:
        """Compares the checkpoint's classes with those of the test set."""
        test = runner.test_loop.dataloader.dataset
        require_same_classes(self._trained_on, classes_of(test), 'test')
        require_fit(test, _num_classes(runner), 'test')

    def _warn_of_empty_classes(self, runner: Any, dataset: Any) -> None:
        """Warns of labels that no sample of the training set has."""
        if not hasattr(dataset, 'labels'):
            return
        counts = np.bincount(dataset.labels(), minlength=_num_classes(runner))
        empty = [str(label) for label in np.flatnonzero(counts == 0)]
        if empty:
            runner.logger.warning(
                f'{len(empty)} of {len(counts)} classes have no sample in the training set: {name_some(empty)}. They '
                'are never predicted correctly. Add samples, or leave these classes out of all lists.'
            )


def classes_of(dataset: Any) -> tuple[str, ...] | None:
    """Class names of a data set in the order of their labels; None if it has numbers only."""
    return tuple(getattr(dataset, 'metainfo', {}).get('classes') or ()) or None


def require_fit(dataset: Any, num_classes: int, what: str) -> None:
    """Refuses a data set with another number of classes."""
    classes = classes_of(dataset)
    if classes is not None and len(classes) != num_classes:
        raise ConfigError(
            f'`model.head.num_classes` is {num_classes}, but the {what} set has {len(classes)} classes '
            f'({name_some(classes)}).{_name_empty_folders(dataset, classes)} Set `model.head.num_classes='
            f'{len(classes)}`, or fix the folders or the list.'
        )
    if classes is None and hasattr(dataset, 'labels'):
        largest = int(dataset.labels().max(initial=-1))
        if largest >= num_classes:
            raise ConfigError(
                f'`model.head.num_classes` is {num_classes}, but the {what} set has the label {largest}; labels count '
                f'from 0. Set `model.head.num_classes={largest + 1}`, or fix the list.'
            )


def require_same_classes(
    train: Sequence[str] | None, other: Sequence[str] | None, what: str
) -> None:
    """Refuses two data sets whose class folders differ; lists have no class names."""
    if train is None or other is None or tuple(train) == tuple(other):
        return
    missing = [name for name in train if name not in other]
    strange = [name for name in other if name not in train]
    differ = [
        f'{name_some(names)} only in the {where} set'
        for names, where in [(missing, 'training'), (strange, what)]
        if names
    ]
    raise DataError(
        f'The classes of the training set ({len(train)}) and of the {what} set ({len(other)}) differ: '
        f'{"; ".join(differ) or "the order is another"}. Labels are numbers in the order of the names, so that they '
        'would mean different classes. Give both the same classes, each with a file, or use lists (`ann_file`) with '
        'numbers.'
    )


def _num_classes(runner: Any) -> int:
    return unwrapped(runner.model).head.num_classes


def _name_empty_folders(dataset: Any, classes: Sequence[str]) -> str:
    """Names class folders without a file."""
    root = getattr(dataset, 'data_root', '')
    listed = bool(getattr(dataset, 'ann_file', None))
    chosen = classes_of(dataset) != getattr(getattr(dataset, 'catalogue', None), 'classes', None)
    if listed or chosen or not os.path.isdir(root):
        return ''
    empty = sorted(e.name for e in os.scandir(root) if e.is_dir() and e.name not in classes)
    return f' Without a file are: {name_some(empty)}.' if empty else ''
