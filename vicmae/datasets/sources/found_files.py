# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Files below a folder, of which there may be millions."""

import os
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from vicmae.structures import NO_LABEL
from vicmae.utils.log import warn


class PackedNames:
    """Many names in one block of memory that processes share."""

    def __init__(self, names: Iterable[str]) -> None:
        text, ends = bytearray(), array('q', [0])
        for name in names:
            text += os.fsencode(name)
            ends.append(len(text))
        # Tensors, since torch passes them to spawned workers in shared memory; never empty ones.
        self._text = torch.frombuffer(text + b'\0', dtype=torch.uint8)
        self._ends = torch.frombuffer(ends, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> str:
        start, end = self._ends.numpy()[number : number + 2]
        return os.fsdecode(self._text.numpy()[start:end].tobytes())


class FoundFiles:
    """Samples below a folder, as a `Catalogue`.

    If all of them are in sub-folders, the first level of these are the classes; else there are none.

    Args:
        root: The folder.
        contents: Folders below it with the names of samples in them, in order.
    """

    labelling = 'Put files into one folder per class, write `path label` lines'

    def __init__(self, root: str, contents: Iterable[tuple[str, list[str]]]) -> None:
        self.name = root
        folders: list[str] = []
        ends = array('q')

        def names() -> Iterator[str]:
            total = 0
            for folder, files in contents:
                total += len(files)
                folders.append(folder)
                ends.append(total)
                yield from files

        self._names = PackedNames(names())
        self._folders = PackedNames(folders)
        self._ends = torch.tensor(ends, dtype=torch.int64)
        tops = [folder.partition('/')[0] for folder in folders]
        self.classes = None if '' in tops else tuple(sorted(set(tops)))
        label_of = {name: label for label, name in enumerate(self.classes or ())}
        labels = [label_of.get(top, NO_LABEL) for top in tops]
        self._labels = torch.tensor(labels, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, number: int) -> dict[str, Any]:
        folder = int(np.searchsorted(self._ends.numpy(), number, side='right'))
        path = os.path.join(self.name, self._folders[folder], self._names[number])
        label = int(self._labels[folder])
        if self.classes is None:
            return dict(path=path, gt_label=label)
        return dict(path=path, gt_label=label, class_name=self.classes[label])

    def labels(self) -> np.ndarray:
        """Returns the label of each sample, -1 for none."""
        return np.repeat(self._labels.numpy(), np.diff(self._ends.numpy(), prepend=0))


def walk(root: str) -> Iterator[tuple[str, list[str]]]:
    """Yields folders, relative to a root, with names of files in them, sorted by path and without hidden ones."""
    return _walk(root, '', set())


def _walk(root: str, folder: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, list[str]]]:
    files: list[str] = []
    for name, is_folder in sorted((e.name, is_a_folder(e)) for e in scan(root, folder, seen)):
        if not is_folder:
            files.append(name)
            continue
        if files:
            yield folder, files
            files = []
        yield from _walk(root, os.path.join(folder, name), seen)
    if files:
        yield folder, files


def scan(root: str, folder: str, seen: set[tuple[int, int]]) -> Iterator['os.DirEntry[str]']:
    """Yields the entries of a folder, except hidden ones; none if it was `seen` before, as links may form a circle."""
    path = os.path.join(root, folder)
    try:
        stat = os.stat(path)
        identity = stat.st_dev, stat.st_ino
        if identity in seen:
            return
        seen.add(identity)
        with os.scandir(path) as entries:
            for entry in entries:
                if not entry.name.startswith('.'):
                    yield entry
    except OSError as error:
        warn(f'Skipped the folder {path!r}: {error.strerror}.')


def is_a_folder(entry: 'os.DirEntry[str]') -> bool:
    """Returns True for a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
