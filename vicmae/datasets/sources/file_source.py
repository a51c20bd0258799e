# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Sources of files in class folders or list files, whatever the files contain."""

import os
from typing import Any, ClassVar

from vicmae.errors import DataError
from vicmae.structures import NO_LABEL

from .catalogue import Catalogue, CatalogueSource
from .found_files import FoundFiles, walk
from .list_file import ListedSamples, read_label


class FileSource(CatalogueSource):
    """Files of one kind, with or without labels: the base of `ImageFolder` and `VideoFolder`.

    Without `ann_file`, all files below `data_root` are samples. If all are in sub-folders, the first level of folders
    are the classes; else there are no labels.

    Args:
        data_root: Folder of the files, or of the whole data set. A transfer config has it once, at its top.
        ann_file: List with lines `path` or `path label`, or CSV file with a header of columns `path` and `label`. A
            label is a whole number from 0 on or, in all lines, the name of a class: names are numbered in their order,
            the same in two lists of the same classes. Paths are relative to `data_root`, as is that of the list.
        data_prefix: Folder of the files within `data_root`, such as 'train'. A list names files from `data_root`.
        kwargs: Further arguments of `CatalogueSource`: `with_labels`, `max_per_class`, `pipeline`,
            `visits_per_opening`, `tags`.
    """

    extensions: tuple[str, ...] = ()
    follows: ClassVar = dict(data_root='data_root')

    def __init__(
        self, data_root: str = '', ann_file: str = '', *, data_prefix: str = '', **kwargs: Any
    ) -> None:
        if data_prefix and not ann_file:
            data_root = os.path.join(data_root, data_prefix)
        require_place(type(self).__name__, data_root, ann_file, data_prefix)
        self.data_root = data_root
        self.ann_file = os.path.join(data_root, ann_file) if ann_file else ''
        super().__init__(self._catalogue(), **kwargs)

    def _catalogue(self) -> Catalogue:
        if self.ann_file:
            parse = PathAndLabel(self.extensions)
            return ListedSamples(self.ann_file, self.data_root, parse, self.extensions)
        fitting = (
            (folder, [name for name in names if name.lower().endswith(self.extensions)])
            for folder, names in walk(self.data_root)
        )
        files = FoundFiles(self.data_root, (part for part in fitting if part[1]))
        if len(files):
            return files
        others = [name for _, names in walk(self.data_root) for name in names]
        held = f'it holds {len(others)} other files, such as {others[0]!r}' if others else ''
        raise DataError(
            f'No {self.kind}s under {self.data_root!r}: looked for {" ".join(self.extensions)}; '
            f'{held or "the folder is empty"}.'
        )


class PathAndLabel:
    """Reads a line `path` or `path label`, where the path has one of the extensions."""

    def __init__(self, extensions: tuple[str, ...]) -> None:
        self.extensions = extensions

    def __call__(self, line: str) -> dict[str, Any]:
        if line.lower().endswith(self.extensions):
            return dict(path=line, gt_label=NO_LABEL)
        # Otherwise the label follows the last space.
        path, _, label = line.replace('\t', ' ').rpartition(' ')
        path = path.strip()
        if not path.lower().endswith(self.extensions):
            raise ValueError(
                'expected `path label` with a path that ends in one of '
                f'{" ".join(self.extensions)}, got {line!r}. A list with commas, or with spaces in the names of '
                'classes, is a CSV file with the header `path,label`.'
            )
        return dict(path=path, gt_label=read_label(label))


def require_place(source: str, data_root: str, ann_file: str, data_prefix: str = '') -> None:
    """Raises DataError if there is neither a list nor a folder."""
    if not data_root and not ann_file:
        raise DataError(
            f'{source} needs a `data_root` (a folder) or an `ann_file` (a list), got neither.'
        )
    if not ann_file and not os.path.isdir(data_root):
        problem = 'is a file' if os.path.exists(data_root) else 'does not exist'
        within = f' It ends in the `data_prefix` {data_prefix!r}.' if data_prefix else ''
        raise DataError(
            f'`data_root` of {source} must be a folder, got {data_root!r}, which {problem}.{within} '
            'Paths are relative to where the command is run.'
        )
