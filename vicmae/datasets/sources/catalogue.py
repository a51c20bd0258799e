# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What samples there are, wherever that is written down, and which of them a source takes."""

from typing import Any, Protocol

import numpy as np
import torch

from vicmae.errors import DataError

from ..transforms.clip_sampling import require_open_video
from .source import NO_LABEL, Source


class Catalogue(Protocol):
    """Samples by number. Made for millions: whatever is large is shared by all processes that read it.

    Attributes:
        name: What messages call it.
        classes: Names of the classes in the order of their labels, None where they aren't known.
        labelling: How a user gives labels to its samples, for messages.
    """

    name: str
    classes: tuple[str, ...] | None
    labelling: str

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> dict[str, Any]:
        """What is known of a sample: `path`, which names it to people, `gt_label`, perhaps `class_name`."""

    def labels(self) -> np.ndarray:
        """The label of each sample, -1 for none."""


class CatalogueSource(Source):
    """The samples of a catalogue, or some of each class.

    Args:
        catalogue: The catalogue.
        with_labels: Whether each sample must have a label, as probes need.
        max_per_class: Takes at most this many samples of each class.
        share_per_class: Takes this share of each class, rounded, and one sample at least.
        subset_seed: Draws which samples these are; the same ones each time, and fewer are among the more. None takes
            them evenly spread over the catalogue.
        kwargs: Further arguments of `Source`: `pipeline`, `visits_per_opening`, `tags`.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        with_labels: bool = False,
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
        thinned = max_per_class is not None or share_per_class is not None
        if with_labels or thinned:
            labels = catalogue.labels()
            if with_labels:
                self._require_labels(labels)
            if thinned:
                kept = thin_out(
                    labels, max_per_class, share_per_class=share_per_class, seed=subset_seed
                )
                self._kept = torch.from_numpy(kept)

    def __len__(self) -> int:
        return len(self.catalogue) if self._kept is None else len(self._kept)

    def get_data_info(self, index: int) -> dict[str, Any]:
        return self.catalogue[self.number_of(index)]

    def path_of(self, index: int) -> str:
        return self.catalogue[self.number_of(index)]['path']

    def labels(self) -> np.ndarray:
        """The label of each sample that is taken, -1 for none."""
        labels = self.catalogue.labels()
        return labels if self._kept is None else labels[self._kept.numpy()]

    def number_of(self, index: int) -> int:
        """The number in the catalogue of a sample."""
        if not 0 <= index < len(self):
            raise IndexError(f'There is no sample {index}: there are {len(self)}.')
        return index if self._kept is None else int(self._kept[index])

    def _require_labels(self, labels: np.ndarray) -> None:
        without = np.flatnonzero(labels == NO_LABEL)
        if len(without):
            raise DataError(
                f'A probe needs a label for each sample, but {len(without)} of {len(labels)} in '
                f'{self.catalogue.name!r} have none, such as {self.catalogue[int(without[0])]["path"]!r}. '
                f'{self.catalogue.labelling}, or switch the probe off with `val_dataloader=None`.'
            )


def thin_out(
    labels: np.ndarray,
    max_per_class: int | None = None,
    *,
    share_per_class: float | None = None,
    seed: int | None = None,
) -> np.ndarray:
    """Numbers of some samples of each class, in their order.

    Args:
        labels: Of all samples.
        max_per_class: How many at most; None for all.
        share_per_class: Which share, rounded, and one sample at least; None for all.
        seed: Draws them; None takes them evenly spread. A class's own follow from its label and its samples alone.
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
        else:  # the beginning of one order, so that fewer are among the more
            chosen = np.random.default_rng([seed, label + 1]).permutation(count)[:number]
        kept.append(order[start + chosen])
    return np.sort(np.concatenate(kept))
