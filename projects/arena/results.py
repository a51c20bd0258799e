# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Reads the results of runs: which test samples each got right. N samples, G groups."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
RESULTS = HERE / 'results'
VIDEO_SETS = ('ut', 'skate', 'utdd', 'utdc')
MOTION_SETS = ('utdd', 'utdc')

Accuracy = Callable[[str], float]  # of a set


def images(accuracy: Accuracy) -> float:
    """Returns the accuracy of images."""
    return accuracy('images')


def videos(accuracy: Accuracy) -> float:
    """Averages the accuracies of the video sets."""
    return sum(accuracy(name) for name in VIDEO_SETS) / len(VIDEO_SETS)


def motion(accuracy: Accuracy) -> float:
    """Averages the accuracies of the sets whose classes differ in motion alone."""
    return sum(accuracy(name) for name in MOTION_SETS) / len(MOTION_SETS)


def score(accuracy: Accuracy) -> float:
    """Returns the score of a run: half of it is that of images, half that of videos."""
    return (images(accuracy) + videos(accuracy)) / 2


FIGURES = dict(score=score, images=images, videos=videos, motion=motion)


@dataclass(frozen=True)
class Result:
    """A run.

    Attributes:
        path: Its file.
        content: What is written there.
    """

    path: Path
    content: dict[str, Any]

    def has(self, classifier: str) -> bool:
        """Returns whether the run was measured by a classifier: logistic, knn, attentive or finetune."""
        return all(classifier in marks for marks in self.content['right'].values())

    def marks(self, name: str, classifier: str = 'logistic') -> NDArray[np.bool_]:
        """Returns whether each test sample of a set was classified right, (N,)."""
        return np.array(list(self.content['right'][name][classifier])) == '1'

    def accuracy(self, name: str, classifier: str = 'logistic') -> float:
        """Returns the accuracy on a set, in per cent."""
        return 100 * float(self.marks(name, classifier).mean())

    def figure(self, name: str, classifier: str = 'logistic') -> float:
        """Returns one of `FIGURES`, or the accuracy on a set."""
        if name not in FIGURES:
            return self.accuracy(name, classifier)
        return FIGURES[name](lambda of: self.accuracy(of, classifier))


@dataclass(frozen=True)
class Results:
    """All results of a folder, and the groups of the test samples."""

    folder: Path = RESULTS

    @cached_property
    def sets(self) -> dict[str, dict[str, Any]]:
        """What is known of each set: `groups` of its test samples, number of `classes`, `chance` in per cent."""
        return _read(self.folder / 'sets.json') if (self.folder / 'sets.json').exists() else {}

    @property
    def longer(self) -> list[str]:
        """Tables of equal FLOPs with another budget than the main one, by that: 32-tflops."""
        names = [path.name for path in self.folder.glob('*-tflops')]
        return sorted(names, key=lambda name: float(name.removesuffix('-tflops')))

    def chance(self, name: str) -> float:
        """Returns the figure of random answers, in per cent."""

        def of_set(of: str) -> float:
            return float(self.sets[of]['chance'])

        return FIGURES[name](of_set) if name in FIGURES else of_set(name)

    def of(self, table: str, row: str) -> list[Result]:
        """Returns the runs of a row in a table (flops, time, search), in the order of their names."""
        paths = sorted((self.folder / table / row).glob('*.json'))
        return [self._check(Result(path, _read(path)), row) for path in paths]

    def _check(self, result: Result, row: str) -> Result:
        """Refuses a file that is not a result of this row, or not on the sets of `sets.json`."""
        content, path = result.content, str(result.path)
        if content.get('row') != row:
            raise SystemExit(
                f'error: {path!r} is of row {content.get("row")!r}, not {row!r}. Remove it.'
            )
        if content.get('table') in ('search', 'finetune'):  # on other samples: of `dev`, of `val`
            return result
        counts = {name: len(one['groups']) for name, one in self.sets.items()}
        right = content.get('right', {})
        tested = {name: len(marks['logistic']) for name, marks in right.items()}
        if tested != counts:
            raise SystemExit(
                f'error: {path!r} has marks of {tested}, but sets.json has {counts}. Remove it, and run it again.'
            )
        return result


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise SystemExit(
            f'error: {str(path)!r} is no JSON ({error}). Remove it, and run it again.'
        ) from error
    if not isinstance(content, dict):
        raise SystemExit(f'error: {str(path)!r} is no result of the arena. Remove it.')
    return content
