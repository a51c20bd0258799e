# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Loads samples in a worker, and replaces bad ones."""

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
# The stream of random numbers for replacements. Samplers have other streams.
_REPLACEMENTS = 5
# Added to the visit numbers of replacements, so that they differ from other visits to the same sample.
_VISITS_OF_REPLACEMENTS = 1 << 20


class Report(NamedTuple):
    """A worker's report on a batch."""

    bad: tuple[BadFile, ...]
    seen: dict[str, int]  # number of samples from each source
    notes: dict[str, int]  # number of other events that are logged
    no_good_file: str = ''  # the error message if no file could replace a bad one


class _NoGoodFileError(Exception):
    """No file could replace a bad one."""


class GuardedDataset(Dataset):
    """Wraps the data set of a worker: notes on the board which sample is loading, and replaces bad ones.

    A replacement is of the same source, and depends only on the sample's key. `SteadyLoader` describes the arguments.
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
            # The loader raises it after listing the bad files.
            except _NoGoodFileError as error:
                no_good_file = str(error)
                break
            samples += loaded
            num_stand_ins = len(bad) - num_bad if self.stand_ins else 0
            seen[self._source_name(index)] += len(loaded) - num_stand_ins
        drain = getattr(self.dataset, 'drain_notes', dict)
        return samples, Report(_merged(bad), dict(seen), drain(), no_good_file)

    def _load(self, keys: list[Any], bad: list[BadFile]) -> list[Any]:
        """Loads visits to one sample. For a visit that fails, it returns the first replacement that can be loaded."""
        try:
            return self._load_together(keys)
        except DataError as error:
            if len(keys) > 1:
                return [sample for key in keys for sample in self._load([key], bad)]
            bad.append(self.describe(index_of(keys[0]), str(error), epoch=_epoch_of(keys[0])))
        if self.stand_ins:
            # Replacements that can't be read are counted when they are visited themselves.
            return self._load_another(keys[0], bad[-1:])
        return self._load_another(keys[0], bad) if self.replace else []

    def _load_together(self, keys: list[Any]) -> list[Any]:
        index = index_of(keys[0])
        self.board.begin(index, _epoch_of(keys[0]), len(keys))
        try:
            self._refuse_fatal(index)
            return _get_items(self.dataset, keys)
        except SystemExit as error:
            if get_worker_info() is None:  # in the main process, it may be a request to end the run
                raise
            raise DataError(
                f'Its reader tried to exit the process (status {error.code}).'
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
        failure = f'{len(bad)} files of {source} in a row could not be read'
        if len(bad) == end - first:
            failure = f'None of the {len(bad)} files of {source} could be read'
        names = ', '.join(repr(row.file) for row in bad[-3:])
        return f'{failure}, such as {names}: {bad[-1].error.rstrip(".")}.'

    def _another(self, key: SampleKey | int, tried: Sequence[int]) -> int:
        """Draws a sample of the same source that was not tried yet."""
        first, end = self._span(tried[0])
        seeds = [key.seed, key.epoch] if isinstance(key, SampleKey) else []
        rng = np.random.default_rng([*seeds, tried[0], len(tried), _REPLACEMENTS])
        candidate = first + int(rng.integers(end - first))
        while candidate in tried:
            candidate = first + (candidate + 1 - first) % (end - first)
        return candidate

    def describe(
        self, index: int, error: str, *, epoch: int = 0, visits: int = 1, fatal: bool = False
    ) -> BadFile:
        """Returns the row of a bad sample in the list of bad files."""
        return BadFile(self.file_of(index), self._kind(index), error, epoch, index, visits, fatal)

    def file_of(self, index: int) -> str:
        """Returns the file of a sample, for messages."""
        try:
            return self.dataset.path_of(index)
        except (AttributeError, DataError):  # a data set without files, or a bad line in a list
            return f'sample {index}'

    def _refuse_fatal(self, index: int) -> None:
        if self.fatal_files and self.file_of(index) in self.fatal_files:
            raise DataError(
                'It is listed as a file that hung or killed its process, so it is not opened again.'
            )

    def _kind(self, index: int) -> str:
        source = self.dataset
        if hasattr(source, 'source_of'):
            source = source.sources[source.source_of(index)]
        return getattr(source, 'kind', 'sample')

    def _source_name(self, index: int) -> str:
        if hasattr(self.dataset, 'source_of'):
            return self.dataset.names[self.dataset.source_of(index)]
        return f'{self._kind(index)}s'

    def _span(self, index: int) -> tuple[int, int]:
        if hasattr(self.dataset, 'source_of'):
            return self.dataset.span_of(self.dataset.source_of(index))
        return 0, len(self.dataset)


def _merged(rows: list[BadFile]) -> tuple[BadFile, ...]:
    """Merges the rows of each sample, and counts its failed visits."""
    by_index: dict[int, BadFile] = {}
    for row in rows:
        before = by_index.get(row.index)
        by_index[row.index] = row if before is None else before._replace(visits=before.visits + 1)
    return tuple(by_index.values())


def _get_items(dataset: Any, keys: list[Any]) -> list[Any]:
    together = getattr(dataset, '__getitems__', None)
    return together(keys) if together else [dataset[key] for key in keys]


def index_of(key: SampleKey | int) -> int:
    """Returns the position of a key's sample in the data set."""
    return key.index if isinstance(key, SampleKey) else int(key)


def _moved(key: SampleKey | int, index: int) -> SampleKey | int:
    """Returns the key of a replacement."""
    if isinstance(key, SampleKey):
        # Two bad samples may have the same replacement, but as different visits.
        visit = key.visit + _VISITS_OF_REPLACEMENTS * (1 + key.index)
        return key._replace(index=index, visit=visit)
    return index


def _epoch_of(key: SampleKey | int) -> int:
    return key.epoch if isinstance(key, SampleKey) else 0
