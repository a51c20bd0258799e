# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Catalogues of samples, and sources that take samples from them."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol

import numpy as np
import torch

from vicmae.errors import DataError
from vicmae.structures import NO_LABEL
from vicmae.utils.names import name_some

from ..transforms.clip_sampling import require_open_video
from .source import Source


class Catalogue(Protocol):
    """Samples by number, also millions of them: processes share its large parts."""

    name: str  # in messages
    classes: tuple[str, ...] | None  # in the order of their labels, if known
    labelling: str  # how a user gives labels to its samples, for messages

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Returns `path` (the name in messages), `gt_label` and perhaps `class_name` of a sample."""

    def labels(self) -> np.ndarray:
        """Returns the label of each sample, -1 for none."""


class CatalogueSource(Source):
    """The samples of a catalogue, or some of each class.

    Args:
        catalogue: The catalogue.
        with_labels: Whether each sample must have a label, as probes need.
        classes: Takes only these classes: names, or patterns such as 'ut_*'. Their labels count from 0 on.
        max_per_class: Takes at most this many samples of each class.
        share_per_class: Takes this share of each class, rounded, at least one sample.
        subset_seed: Seed of the samples that are taken, the same each time; a larger subset contains the smaller ones.
            None takes them evenly spread over the catalogue.
        kwargs: Further arguments of `Source`: `pipeline`, `visits_per_opening`, `tags`.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        with_labels: bool = False,
        classes: Sequence[str] | None = None,
        max_per_class: int | None = None,
        share_per_class: float | None = None,
        subset_seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require_open_video(self.pipeline)
        if max_per_class is not None and max_per_class < 1:
            raise ValueError(f'`max_per_class` must be at least 1, got {max_per_class}.')
        if share_per_class is not None and not 0 < share_per_class <= 1:
            raise ValueError(
                f'`share_per_class` must be in (0, 1], got {share_per_class}. 0.01 is one per cent.'
            )
        self.catalogue = catalogue
        self.with_labels = with_labels
        self.max_per_class = max_per_class
        self.share_per_class = share_per_class
        if catalogue.classes:
            self.metainfo['classes'] = catalogue.classes
        self._kept: torch.Tensor | None = None
        self._label_of: dict[int, int] | None = None  # by the catalogue's label, for some classes
        thinned = max_per_class is not None or share_per_class is not None
        if with_labels or thinned or classes is not None:
            labels = catalogue.labels()
            if classes is not None:
                self._take_classes(classes, labels)
            if with_labels:
                self._require_labels(self.labels())
            if thinned:
                few = thin_out(self.labels(), max_per_class, share_per_class, subset_seed)
                kept = torch.from_numpy(few)
                self._kept = kept if self._kept is None else self._kept[kept]

    def __len__(self) -> int:
        return len(self.catalogue) if self._kept is None else len(self._kept)

    def get_data_info(self, index: int) -> dict[str, Any]:
        info = self.catalogue[self.number_of(index)]
        if self._label_of is None:
            return info
        return {**info, 'gt_label': self._label_of[info['gt_label']]}

    def path_of(self, index: int) -> str:
        return self.catalogue[self.number_of(index)]['path']

    def labels(self) -> np.ndarray:
        """Returns the label of each sample that is taken, -1 for none."""
        labels = self.catalogue.labels()
        labels = labels if self._kept is None else labels[self._kept.numpy()]
        if self._label_of is None:
            return labels
        return np.array([self._label_of[label] for label in labels.tolist()], labels.dtype)

    def number_of(self, index: int) -> int:
        """Returns the number of a sample in the catalogue."""
        if not 0 <= index < len(self):
            raise IndexError(f'There is no sample {index}: there are {len(self)}.')
        return index if self._kept is None else int(self._kept[index])

    def _take_classes(self, patterns: Sequence[str], labels: np.ndarray) -> None:
        names = self.catalogue.classes
        if names is None:
            raise DataError(
                f'`classes` takes classes by name, but those of {self.catalogue.name!r} have none. Put files into one '
                'folder per class, or leave `classes` out.'
            )
        unused = [p for p in patterns if not any(fnmatchcase(name, p) for name in names)]
        if unused or not patterns:
            raise DataError(
                f'`classes` must name classes of {self.catalogue.name!r}, got {", ".join(unused) or "none"}: there are '
                f'{name_some(names, 8)}.'
            )
        taken = [
            label for label, name in enumerate(names) if any(fnmatchcase(name, p) for p in patterns)
        ]
        self._label_of = {label: number for number, label in enumerate(taken)}
        self._kept = torch.from_numpy(np.flatnonzero(np.isin(labels, taken)))
        self.metainfo['classes'] = tuple(names[label] for label in taken)

    def _require_labels(self, labels: np.ndarray) -> None:
        without = np.flatnonzero(labels == NO_LABEL)
        if len(without):
            raise DataError(
                f'A probe needs a label for each sample, but {len(without)} of {len(labels)} in '
                f'{self.catalogue.name!r} have none, such as {self.path_of(int(without[0]))!r}. '
                f'{self.catalogue.labelling}, or switch the probe off with `val_dataloader=None`.'
            )


def thin_out(
    labels: np.ndarray,
    max_per_class: int | None = None,
    share_per_class: float | None = None,
    seed: int | None = None,
) -> np.ndarray:
    """Returns the numbers of some samples of each class, in order; see `CatalogueSource` for the arguments.

    Those of a class depend only on its label and number of samples.
    """
    order = np.argsort(labels, kind='stable')
    classes, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    kept = []
    for label, start, count in zip(classes.tolist(), starts, counts.tolist(), strict=True):
        number = count if max_per_class is None else min(max_per_class, count)
        if share_per_class is not None:
            number = min(number, max(1, round(share_per_class * count)))
        if seed is None:
            chosen = np.linspace(0, count - 1, number).round().astype(int)
        else:  # the start of one order, so that larger subsets contain smaller ones
            chosen = np.random.default_rng([seed, label + 1]).permutation(count)[:number]
        kept.append(order[start + chosen])
    return np.sort(np.concatenate(kept))
