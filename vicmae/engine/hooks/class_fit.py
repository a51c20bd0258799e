# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Checks that all data sets, the head and the checkpoint use the same class ids."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.hooks import Hook

from vicmae.errors import ConfigError, DataError
from vicmae.registry import HOOKS
from vicmae.structures import NO_LABEL
from vicmae.utils.distributed import unwrapped
from vicmae.utils.names import name_some


@HOOKS.register_module()
class ClassFitHook(Hook):
    """Refuses data sets whose class ids differ from each other, from the head's or from the checkpoint's.

    Class folders are numbered in the order of their names: one more in one of the sets shifts all labels after it, and
    accuracies fall without a message. A model with several heads is checked head by head.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._trained_on: dict[str, tuple[str, ...]] = {}  # classes by head

    def before_train(self, runner: Any) -> None:
        """Compares training set, heads and validation set before the first step."""
        heads = heads_of(runner.model)
        train = sets_by_head(runner.train_dataloader.dataset, heads, 'training')
        val = {}
        if runner.val_loop is not None:
            val = sets_by_head(runner.val_loop.dataloader.dataset, heads, 'validation')
        for head, num_classes in heads.items():
            if head not in train:
                raise ConfigError(
                    f'`model.{head}` has no training data: no labelled source is named {head.removeprefix("heads.")!r} '
                    f'or has it as its tag `head`. Add one to `train_dataloader.dataset.sources`, or set '
                    f'`model.{head}=None`.'
                )
            first, *others = train[head]
            require_fit(first, num_classes, 'training', head)
            self._warn_of_empty_classes(runner, train[head], num_classes)
            pairs = [(other, 'training') for other in others]
            for other, what in pairs + [(other, 'validation') for other in val.get(head, ())]:
                require_same_classes(classes_of(first), classes_of(other), what)
                if (classes_of(first) is None) != (classes_of(other) is None):
                    runner.logger.warning(
                        f'One of the training and {what} sets has names of classes (folders, or names in its list) and '
                        'the other numbers alone: whether they mean the same classes is not known. Names are numbered '
                        'in their order, from 0 on.'
                    )
                require_fit(other, num_classes, what, head)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Keeps the classes that a checkpoint was trained on."""
        meta = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
        of_heads = {'head': meta.get('classes')}
        for name, source in meta.items():
            if isinstance(source, Mapping):
                of_heads[f'heads.{source.get("head", name)}'] = source.get('classes')
        self._trained_on = {head: tuple(names) for head, names in of_heads.items() if names}

    def before_test(self, runner: Any) -> None:
        """Compares the checkpoint's classes with those of the test set."""
        heads = heads_of(runner.model)
        for head, sets in sets_by_head(runner.test_loop.dataloader.dataset, heads, 'test').items():
            for test in sets:
                require_same_classes(self._trained_on.get(head), classes_of(test), 'test')
                require_fit(test, heads[head], 'test', head)

    def _warn_of_empty_classes(self, runner: Any, sets: Sequence[Any], num_classes: int) -> None:
        """Warns of labels that no sample of the training sets has, and of samples without a label."""
        if not all(hasattr(dataset, 'labels') for dataset in sets):
            return
        labels = np.concatenate([dataset.labels() for dataset in sets])
        labelled = labels[labels != NO_LABEL]
        if len(labelled) < len(labels):
            runner.logger.warning(
                f'{len(labels) - len(labelled)} of {len(labels)} training samples have no label: they are read, but '
                'not trained on.'
            )
        counts = np.bincount(labelled, minlength=num_classes)
        empty = [str(label) for label in np.flatnonzero(counts == 0)]
        if empty:
            runner.logger.warning(
                f'{len(empty)} of {len(counts)} classes have no sample in the training set: {name_some(empty)}. They '
                'are never predicted correctly. Add samples, or leave these classes out of all lists.'
            )


def heads_of(model: Any) -> dict[str, int]:
    """Returns the number of classes of each head, by its place in the config: 'head', or 'heads.NAME'."""
    model = unwrapped(model)
    if not hasattr(model, 'heads'):
        return {'head': model.head.num_classes}
    return {f'heads.{name}': head.num_classes for name, head in model.heads.items()}


def sets_by_head(dataset: Any, heads: Iterable[str], what: str) -> dict[str, list[Any]]:
    """Returns the sources of each head; a model with one head has the whole data set."""
    if 'head' in heads:
        return {'head': [dataset]}
    sets: dict[str, list[Any]] = {}
    for source in getattr(dataset, 'sources', [dataset]):
        if hasattr(source, 'labels') and (source.labels() == NO_LABEL).all():
            continue
        name = getattr(source, 'tags', {}).get('head') or getattr(source, 'name', '')
        if f'heads.{name}' not in heads:
            names = [head.removeprefix('heads.') for head in heads]
            raise ConfigError(
                f'The {what} set has a source with the head {name!r}, but the model has the heads {", ".join(names)}. '
                f"Name the source as its head, give it `tags=dict(head='{names[0]}')`, or set it to None."
            )
        sets.setdefault(f'heads.{name}', []).append(source)
    return sets


def classes_of(dataset: Any) -> tuple[str, ...] | None:
    """Class names of a data set in the order of their labels; None if it has numbers only."""
    return tuple(getattr(dataset, 'metainfo', {}).get('classes') or ()) or None


def require_fit(dataset: Any, num_classes: int, what: str, head: str = 'head') -> None:
    """Refuses a data set with another number of classes than the head at this place of the config."""
    option = f'model.{head}.num_classes'
    classes = classes_of(dataset)
    if classes is not None and len(classes) != num_classes:
        raise ConfigError(
            f'`{option}` is {num_classes}, but the {what} set has {len(classes)} classes '
            f'({name_some(classes)}).{_name_empty_folders(dataset, classes)} Set `{option}='
            f'{len(classes)}`, or fix the folders or the list.'
        )
    if classes is None and hasattr(dataset, 'labels'):
        largest = int(dataset.labels().max(initial=-1))
        if largest >= num_classes:
            raise ConfigError(
                f'`{option}` is {num_classes}, but the {what} set has the label {largest}; labels count '
                f'from 0. Set `{option}={largest + 1}`, or fix the list.'
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


def _name_empty_folders(dataset: Any, classes: Sequence[str]) -> str:
    """Names class folders without a file."""
    root = getattr(dataset, 'data_root', '')
    listed = bool(getattr(dataset, 'ann_file', None))
    chosen = classes_of(dataset) != getattr(getattr(dataset, 'catalogue', None), 'classes', None)
    if listed or chosen or not os.path.isdir(root):
        return ''
    empty = sorted(e.name for e in os.scandir(root) if e.is_dir() and e.name not in classes)
    return f' Without a file are: {name_some(empty)}.' if empty else ''
