# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Where the files of a source come from: class folders, or a list file. Nothing here knows what is in a file."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from vicmae.errors import DataError

from .source import NO_LABEL, Source

_MAX_EXISTENCE_CHECKS = 1000


class FileSource(Source):
    """Files of one kind with or without labels; `ImageFolder` and `VideoFolder` say which.

    Without `ann_file`, files are found below `data_root`: where all of them lie in sub-folders, the first
    level of these are the classes; else there are no labels. With it, each line is `path` or `path label`,
    the path relative to `data_root`. Labels are not needed for pretraining.

    Args:
        data_root: Folder of the files.
        ann_file: List file, one sample a line; looked for below `data_root`, unless its path is absolute.
        with_labels: Whether each sample must have a label, as probes need.
        max_per_class: Takes at most this many samples of each class, evenly spread over its list.
        kwargs: Further arguments of `Source`: `pipeline`, `visits_per_opening`, `tags`.
    """

    extensions: tuple[str, ...] = ()

    def __init__(
        self,
        data_root: str = '',
        ann_file: str = '',
        *,
        with_labels: bool = False,
        max_per_class: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not data_root and not ann_file:
            raise DataError(
                f'{type(self).__name__} needs a `data_root` (a folder) or an `ann_file` (a list), got neither.'
            )
        self.data_root = data_root
        self.ann_file = os.path.join(data_root, ann_file) if ann_file else ''
        self.with_labels = with_labels
        self.max_per_class = max_per_class
        self._samples = self._find_samples()

    def __len__(self) -> int:
        return len(self._samples)

    def get_data_info(self, index: int) -> dict[str, Any]:
        return dict(self._samples[index])

    def _find_samples(self) -> list[dict[str, Any]]:
        samples = self._listed_samples() if self.ann_file else self._found_samples()
        if self.with_labels:
            self._require_labels(samples)
        if self.max_per_class is not None:
            samples = _thin_out(samples, self.max_per_class)
        return samples

    def _found_samples(self) -> list[dict[str, Any]]:
        root = Path(self.data_root)
        if not root.is_dir():
            raise DataError(
                f'`data_root` of {type(self).__name__} must be a folder, got {str(root)!r}, which '
                f'{"is a file" if root.exists() else "does not exist"}. '
                'Paths are relative to where the command is run.'
            )
        files = _walk(root)
        mine = [f for f in files if f.suffix.lower() in self.extensions]
        if not mine:
            raise DataError(self._nothing_found(root, files))
        parts = [f.relative_to(root).parts for f in mine]
        if any(len(p) == 1 for p in parts):  # files beside folders: folders mean no classes
            return [dict(path=str(f), gt_label=NO_LABEL) for f in mine]
        classes = sorted({p[0] for p in parts})
        self.metainfo['classes'] = tuple(classes)
        label_of = {name: i for i, name in enumerate(classes)}
        return [
            dict(path=str(f), gt_label=label_of[p[0]], class_name=p[0])
            for f, p in zip(mine, parts, strict=True)
        ]

    def _nothing_found(self, root: Path, files: list[Path]) -> str:
        message = f'No {self.kind}s under {str(root)!r}: looked for {" ".join(self.extensions)}'
        if not files:
            return f'{message}; the folder is empty.'
        return f'{message}; it holds {len(files)} other files, such as {files[0].name!r}.'

    def _listed_samples(self) -> list[dict[str, Any]]:
        path = Path(self.ann_file)
        try:
            lines = path.read_text(encoding='utf-8-sig').splitlines()
        except OSError as error:
            raise DataError(
                f"Can't read the list `ann_file` {str(path)!r}: {error.strerror}."
            ) from error
        except UnicodeDecodeError as error:
            raise DataError(f'The list {str(path)!r} is not UTF-8 text: {error}.') from error
        numbered = [(n, line.strip()) for n, line in enumerate(lines, start=1) if line.strip()]
        if not numbered:
            raise DataError(f'The list {str(path)!r} has no lines. Write one `path label` a line.')
        samples = [self._parse_line(line, f'{path}, line {n}') for n, line in numbered]
        step = max(1, len(samples) // _MAX_EXISTENCE_CHECKS)
        for (n, _), sample in list(zip(numbered, samples, strict=True))[::step]:
            if not os.path.exists(sample['path']):
                raise DataError(
                    f'{path}, line {n}: there is no file {sample["path"]!r}. '
                    f'Paths are relative to `data_root`, which is {self.data_root!r}.'
                )
        return samples

    def _parse_line(self, line: str, where: str) -> dict[str, Any]:
        name, label = line, NO_LABEL
        if not self._is_mine(line):  # then what follows the last space has to be the label
            name, _, last = line.replace('\t', ' ').rpartition(' ')
            name = name.strip()
            if not self._is_mine(name):
                raise DataError(
                    f'{where}: expected `path label` with a path that ends in one of '
                    f'{" ".join(self.extensions)}, got {line!r}.'
                )
            if not last.isdecimal():
                raise DataError(
                    f'{where}: the label must be a whole number from 0 on, got {last!r} in {line!r}.'
                )
            label = int(last)
        return dict(path=os.path.join(self.data_root, name), gt_label=label)

    def _is_mine(self, name: str) -> bool:
        return name.lower().endswith(self.extensions)

    def _require_labels(self, samples: list[dict[str, Any]]) -> None:
        without = [s['path'] for s in samples if s['gt_label'] == NO_LABEL]
        if without:
            source = self.ann_file or self.data_root
            raise DataError(
                f'A probe needs a label for each sample, but {len(without)} of {len(samples)} in '
                f'{source!r} have none, such as {without[0]!r}. Put files into one folder per class, '
                'write `path label` lines, or switch the probe off with `val_dataloader=None`.'
            )


def _walk(root: Path) -> list[Path]:
    """All files below a folder, sorted, without hidden ones."""
    found: list[Path] = []
    seen: set[str] = set()  # a link may lead back to a folder above it
    for folder, subfolders, names in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(s for s in subfolders if not s.startswith('.'))
        found += [Path(folder, name) for name in names if not name.startswith('.')]
    return sorted(found)


def _thin_out(samples: list[dict[str, Any]], max_per_class: int) -> list[dict[str, Any]]:
    """Keeps at most so many samples of each class, evenly spread, in their order."""
    labels = np.array([s['gt_label'] for s in samples])
    kept: list[int] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max_per_class, len(members))
        kept += members[np.linspace(0, len(members) - 1, count).round().astype(int)].tolist()
    return [samples[i] for i in sorted(kept)]
