# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Where the files of a source come from: class folders, or a list file. Nothing here knows what is in a file."""

import os
from typing import Any

from vicmae.errors import DataError
from vicmae.structures import NO_LABEL

from .catalogue import Catalogue, CatalogueSource
from .found_files import FoundFiles, walk
from .list_file import ListedSamples


class FileSource(CatalogueSource):
    """Files of one kind with or without labels; `ImageFolder` and `VideoFolder` say which.

    Without `ann_file`, files are found below `data_root`: where all of them lie in sub-folders, the first
    level of these are the classes; else there are no labels. With it, each line is `path` or `path label`,
    the path relative to `data_root`. Labels are not needed for pretraining.

    Args:
        data_root: Folder of the files.
        ann_file: List file, one sample a line; looked for below `data_root`, unless its path is absolute.
        kwargs: Further arguments of `CatalogueSource`: `with_labels`, `max_per_class`, `pipeline`,
            `visits_per_opening`, `tags`.
    """

    extensions: tuple[str, ...] = ()

    def __init__(self, data_root: str = '', ann_file: str = '', **kwargs: Any) -> None:
        require_place(type(self).__name__, data_root, ann_file)
        self.data_root = data_root
        self.ann_file = os.path.join(data_root, ann_file) if ann_file else ''
        super().__init__(self._catalogue(), **kwargs)

    def _catalogue(self) -> Catalogue:
        if self.ann_file:
            return ListedSamples(self.ann_file, self.data_root, PathAndLabel(self.extensions))
        mine = ((folder, self._mine(names)) for folder, names in walk(self.data_root))
        found = FoundFiles(self.data_root, ((folder, names) for folder, names in mine if names))
        if not len(found):
            raise DataError(self._nothing_found())
        return found

    def _mine(self, names: list[str]) -> list[str]:
        return [name for name in names if name.lower().endswith(self.extensions)]

    def _nothing_found(self) -> str:
        message = (
            f'No {self.kind}s under {self.data_root!r}: looked for {" ".join(self.extensions)}'
        )
        others = [name for _, names in walk(self.data_root) for name in names]
        if not others:
            return f'{message}; the folder is empty.'
        return f'{message}; it holds {len(others)} other files, such as {others[0]!r}.'


class PathAndLabel:
    """Reads a line `path` or `path label`.

    Args:
        extensions: What a path may end in.
    """

    def __init__(self, extensions: tuple[str, ...]) -> None:
        self.extensions = extensions

    def __call__(self, line: str) -> dict[str, Any]:
        if self._is_mine(line):
            return dict(path=line, gt_label=NO_LABEL)
        # Then what follows the last space has to be the label.
        name, _, last = line.replace('\t', ' ').rpartition(' ')
        name = name.strip()
        if not self._is_mine(name):
            raise ValueError(
                'expected `path label` with a path that ends in one of '
                f'{" ".join(self.extensions)}, got {line!r}.'
            )
        return dict(path=name, gt_label=read_label(last, line))

    def _is_mine(self, name: str) -> bool:
        return name.lower().endswith(self.extensions)


def read_label(text: str, line: str) -> int:
    """Reads the label in a line of a list."""
    if not text.isdecimal():
        raise ValueError(f'the label must be a whole number from 0 on, got {text!r} in {line!r}.')
    return int(text)


def require_place(source: str, data_root: str, ann_file: str) -> None:
    """Raises DataError if there is neither a list nor a folder to search."""
    if not data_root and not ann_file:
        raise DataError(
            f'{source} needs a `data_root` (a folder) or an `ann_file` (a list), got neither.'
        )
    if not ann_file and not os.path.isdir(data_root):
        raise DataError(
            f'`data_root` of {source} must be a folder, got {data_root!r}, which '
            f'{"is a file" if os.path.exists(data_root) else "does not exist"}. '
            'Paths are relative to where the command is run.'
        )
