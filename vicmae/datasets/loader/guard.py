# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Loads samples in a worker, and puts others in the place of bad ones."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset, get_worker_info

from vicmae.errors import DataError

from ..bad_files import BadFile
from ..sample_key import SampleKey
from .board import Board

_MAX_BAD_IN_A_ROW = 20
_REPLACEMENTS = 5  # the stream of random numbers that chooses them, beside the samplers'
# Keeps the visits of replacements apart from the epoch's own to the same sample, and from those of other replacements.
_VISITS_OF_REPLACEMENTS = 1 << 20


class Report(NamedTuple):
    """What a worker has to say of a batch.

    Attributes:
        bad: Files that it could not read.
        seen: Number of samples from each source.
        notes: How often something else happened that a user may want to know.
        no_good_file: Why the run can't go on, where no file was left to take the place of a bad one.
    """

    bad: tuple[BadFile, ...]
    seen: dict[str, int]
    notes: dict[str, int]
    no_good_file: str = ''


class _NoGoodFileError(Exception):
    """No file is left to take the place of a bad one."""


class GuardedDataset(Dataset):
    """What a worker loads from: notes the sample that it is at, and puts another in the place of a bad one.

    The other one is of the same source, and follows from the sample's key alone: not from which other visits to the
    sample are in the batch, of which some may be good where a file is bad in part.

    Args:
        dataset: The data set.
        board: Where the notes go.
        replace: Whether bad samples are replaced; else they are missing from the batch.
        stand_ins: Whether bad samples that aren't replaced leave a good one in their place, which is not counted.
    """

    def __init__(
        self, dataset: Any, board: Board, *, replace: bool, stand_ins: bool = False
    ) -> None:
        self.dataset = dataset
        self.board = board
        self.replace = replace
        self.stand_ins = stand_ins
        self.fatal_files: set[str] = set()

    def __getitems__(self, keys: Sequence[SampleKey | int]) -> tuple[list[Any], Report]:
        samples: list[Any] = []
        bad: list[BadFile] = []
        seen: Counter[str] = Counter()
        no_good_file = ''
        for index, group in groupby(keys, key=index_of):
            num_bad = len(bad)
            try:
                loaded = self._load(list(group), bad)
            except _NoGoodFileError as error:  # the report of bad files has to get through
                no_good_file = str(error)
                break
            samples += loaded
            num_stand_ins = len(bad) - num_bad if self.stand_ins else 0
            seen[self._source_name(index)] += len(loaded) - num_stand_ins
        drain = getattr(self.dataset, 'drain_notes', dict)
        return samples, Report(_merged(bad), dict(seen), drain(), no_good_file)

    def _load(self, keys: list[Any], bad: list[BadFile]) -> list[Any]:
        """Loads visits to one sample; in the place of each that can't be had, the first replacement that can."""
        try:
            return self._load_together(keys)
        except DataError as error:
            if len(keys) > 1:
                return [sample for key in keys for sample in self._load([key], bad)]
            bad.append(self.describe(index_of(keys[0]), str(error), epoch=_epoch_of(keys[0])))
        if self.stand_ins:
            # What it fails to read is counted at its own visit.
            return self._load_another(keys[0], bad[-1:])
        return self._load_another(keys[0], bad) if self.replace else []

    def _load_together(self, keys: list[Any]) -> list[Any]:
        index = index_of(keys[0])
        self.board.begin(index, _epoch_of(keys[0]), len(keys))
        try:
            self._refuse_fatal(index)
            return _get_items(self.dataset, keys)
        except SystemExit as error:
            if get_worker_info() is None:  # then it may be meant for the run
                raise
            raise DataError(
                f'What reads it wanted to end the process (exit {error.code}).'
            ) from None
        finally:
            self.board.end()

    def _load_another(self, key: SampleKey | int, bad: list[BadFile]) -> list[Any]:
        tried = [index_of(key)]
        first, end = self._span(tried[0])
        while len(tried) < min(_MAX_BAD_IN_A_ROW, end - first):
            tried.append(self._another(key, tried))
            try:
                return self._load_together([_moved(key, tried[-1])])
            except DataError as error:
                bad.append(self.describe(tried[-1], str(error), epoch=_epoch_of(key)))
        raise _NoGoodFileError(self._no_good_file(bad[-len(tried) :]))

    def _no_good_file(self, bad: Sequence[BadFile]) -> str:
        index = bad[0].index
        first, end = self._span(index)
        source = f'the source {self._source_name(index)!r}'
        what = f'{len(bad)} files of {source} in a row could not be read'
        if len(bad) == end - first:
            what = f'None of the {len(bad)} files of {source} could be read'
        names = ', '.join(repr(row.file) for row in bad[-3:])
        return f'{what}, such as {names}: {bad[-1].error.rstrip(".")}.'

    def _another(self, key: SampleKey | int, tried: Sequence[int]) -> int:
        """Draws a sample of the same source that wasn't tried."""
        first, end = self._span(tried[0])
        own = [key.seed, key.epoch] if isinstance(key, SampleKey) else []
        rng = np.random.default_rng([*own, tried[0], len(tried), _REPLACEMENTS])
        other = first + int(rng.integers(end - first))
        while other in tried:
            other = first + (other + 1 - first) % (end - first)
        return other

    def describe(
        self, index: int, error: str, *, epoch: int = 0, visits: int = 1, fatal: bool = False
    ) -> BadFile:
        """A bad sample, for the ledger."""
        return BadFile(self.file_of(index), self._kind(index), error, epoch, index, visits, fatal)

    def file_of(self, index: int) -> str:
        """What people call a sample."""
        try:
            return self.dataset.path_of(index)
        except (AttributeError, DataError):  # no such data set, or a bad line in a list
            return f'sample {index}'

    def _refuse_fatal(self, index: int) -> None:
        if self.fatal_files and self.file_of(index) in self.fatal_files:
            raise DataError(
                'It is listed as having hung or killed its process, and is not opened again.'
            )

    def _source(self, index: int) -> Any:
        if hasattr(self.dataset, 'source_of'):
            return self.dataset.sources[self.dataset.source_of(index)]
        return self.dataset

    def _kind(self, index: int) -> str:
        return getattr(self._source(index), 'kind', 'sample')

    def _source_name(self, index: int) -> str:
        if hasattr(self.dataset, 'source_of'):
            return self.dataset.names[self.dataset.source_of(index)]
        return f'{self._kind(index)}s'

    def _span(self, index: int) -> tuple[int, int]:
        if hasattr(self.dataset, 'source_of'):
            return self.dataset.span_of(self.dataset.source_of(index))
        return 0, len(self.dataset)


def _merged(rows: list[BadFile]) -> tuple[BadFile, ...]:
    """One row a sample, with all visits that it cost."""
    by_index: dict[int, BadFile] = {}
    for row in rows:
        before = by_index.get(row.index)
        by_index[row.index] = row if before is None else before._replace(visits=before.visits + 1)
    return tuple(by_index.values())


def _get_items(dataset: Any, keys: list[Any]) -> list[Any]:
    together = getattr(dataset, '__getitems__', None)
    return together(keys) if together else [dataset[key] for key in keys]


def index_of(key: SampleKey | int) -> int:
    """The position in the data set of the sample that a key names."""
    return key.index if isinstance(key, SampleKey) else int(key)


def _moved(key: SampleKey | int, index: int) -> SampleKey | int:
    """A visit to another sample, in the place of one to a bad one."""
    if isinstance(key, SampleKey):
        # Two bad ones may get the same replacement: as visits of their own.
        visit = key.visit + _VISITS_OF_REPLACEMENTS * (1 + key.index)
        return key._replace(index=index, visit=visit)
    return index


def _epoch_of(key: SampleKey | int) -> int:
    return key.epoch if isinstance(key, SampleKey) else 0
