# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Intervals of the difference of two rows, by a paired bootstrap over seeds and over groups of test samples together.

R replicates, S seeds, G groups.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results import FIGURES, Result

REPLICATES = 10_000
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Interval:
    """A difference with the bounds of its interval, in points."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f'{self.value:+.1f} [{self.low:+.1f}, {self.high:+.1f}]'


def compare(
    row: Sequence[Result],
    reference: Sequence[Result],
    sets: Mapping[str, Mapping[str, Any]],
    classifier: str = 'logistic',
    replicates: int = REPLICATES,
) -> dict[str, Interval]:
    """Computes the difference of each of `FIGURES`, row minus reference, with its 95 % interval.

    A replicate draws seeds with replacement, and groups of test samples with replacement, and takes the same for both
    rows. Sets with groups of the same names, such as two sets of the same persons, draw them together. Seeds that
    only one of both rows has are left out; a row of one run (the floor) is compared with each seed.

    Args:
        row: The runs of one row, one for each seed.
        reference: Those of the other.
        sets: The groups of each set's test samples, from `sets.json`.
        classifier: The classifier of frozen features.
        replicates: Number of replicates.
    """
    pairs = _pair(row, reference)
    seeds = _draw('seeds', len(pairs), replicates)  # (R, S)
    measured: dict[str, float] = {}
    replicated: dict[str, NDArray[np.float64]] = {}
    for name, labelled in sets.items():
        names, ids = np.unique(labelled['groups'], return_inverse=True)
        groups = _draw(' '.join(names), len(names), replicates)  # (R, G)
        delta = np.stack(
            [
                ours.marks(name, classifier).astype(float) - theirs.marks(name, classifier)
                for ours, theirs in pairs
            ]
        )  # (S, N)
        sums = np.stack([np.bincount(ids, weights=one, minlength=len(names)) for one in delta])
        by_group = seeds @ sums / len(pairs)  # (R, G)
        replicated[name] = 100 * (by_group * groups).sum(axis=1) / (groups @ np.bincount(ids))
        measured[name] = 100 * float(delta.mean())
    intervals = {}
    for figure, combine in FIGURES.items():
        low, high = np.percentile(combine(replicated.__getitem__), _PERCENTILES)
        intervals[figure] = Interval(float(combine(measured.__getitem__)), float(low), float(high))
    return intervals


def spread_over_groups(row: Sequence[Result], groups: Sequence[str], name: str) -> float:
    """Returns the standard deviation over groups of a row's accuracy on a set, mean over seeds, in points."""
    names, ids = np.unique(groups, return_inverse=True)
    marks = np.mean([result.marks(name) for result in row], axis=0)
    return float(np.std([100 * marks[ids == i].mean() for i in range(len(names))], ddof=1))


def _pair(row: Sequence[Result], reference: Sequence[Result]) -> list[tuple[Result, Result]]:
    ours, theirs = ({run.content['seed']: run for run in runs} for runs in (row, reference))
    if len(row) == 1 and len(reference) > 1:
        return [(row[0], theirs[seed]) for seed in sorted(theirs)]
    return [(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]


@cache
def _draw(what: str, number: int, replicates: int) -> NDArray[np.float64]:
    """Counts how often each of a number of things is drawn, the same for each call with one name: (R, number)."""
    rng = np.random.default_rng(zlib.crc32(what.encode()))
    return rng.multinomial(number, np.full(number, 1 / number), size=replicates).astype(float)
