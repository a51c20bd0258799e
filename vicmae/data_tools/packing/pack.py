# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Packs a source into tar shards, over any number of interruptions.

Files are read and encoded in separate processes, and written in the order of the source, whichever is ready
first. So the shards depend on source and settings alone, and what an interrupted run has left is the first of them.
"""

import hashlib
import json
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from vicmae.data_tools.packing.shard_writer import ShardWriter, write_shard
from vicmae.datasets.bad_files import to_json_line
from vicmae.datasets.sources.catalogue import CatalogueSource
from vicmae.errors import ConfigError, DataError
from vicmae.structures import NO_LABEL
from vicmae.utils.isolated_pool import Outcome, be_one_of_many, run_isolated

from ..checking.file_check import Verdict
from .folder import PackFolder, Tally, check_shard
from .recoding import Recipe, Recoded

_VERSION = 1  # raise it when the same settings give other shards
# Of samples that are ready before their turn. Where it is more, they wait on the disk.
_MAX_WAITING_BYTES = 2**28
# For an estimate. The first image of each process takes far longer than the others.
_NUM_TRIED = dict(image=512, video=32)


class _Sample(NamedTuple):
    """A file as it goes into a shard."""

    recoded: Recoded
    notes: dict[str, Any]
    bytes_in: int
    seconds: float


_Outcomes = Generator[Outcome[int, _Sample], None, None]  # of places in the order of packing


@dataclass
class Packing:
    """Turns a source into shards.

    Args:
        source: What to pack. Its pipeline isn't used.
        recipe: How its samples are stored.
        max_samples: A shard with so many samples is full.
        max_bytes: A shard that is as long is full.
        shuffle_seed: Packs samples in a random order that depends on it alone, so that whoever reads shards from
            front to back gets a mixture. None keeps the order of the source.
        limit: Packs so many files only, the first ones in that order.
        num_workers: Processes that read and encode; None for one per core.
        seconds: How long a file may take to be opened, or a part of it to be decoded. One that hangs is left out.
    """

    source: CatalogueSource
    recipe: Recipe
    max_samples: int = 10_000
    max_bytes: int = 10**9
    shuffle_seed: int | None = None
    limit: int | None = None
    num_workers: int | None = None
    seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ('max_samples', 'max_bytes', 'limit', 'num_workers', 'seconds'):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f'`{name}` must be more than 0, got {value}.')
        if self.source.kind != self.recipe.kind:
            raise ConfigError(
                f'{type(self.recipe).__name__} is for {self.recipe.kind}s, but the source has {self.source.kind}s.'
            )
        self._num_workers = self.num_workers or len(os.sched_getaffinity(0))
        order = np.arange(len(self.source))
        if self.shuffle_seed is not None:
            order = np.random.default_rng(self.shuffle_seed).permutation(order)
        self._order = order[: self.limit]

    def __len__(self) -> int:
        return len(self._order)

    def run(
        self,
        folder: str | Path,
        *,
        fresh: bool = False,
        report: Callable[[Tally], None] = lambda tally: None,
    ) -> Tally:
        """Packs what isn't packed yet, and checks all shards.

        Args:
            folder: Where the shards go, with `pack.json`, and `bad_files.jsonl`: a line for each file that was left
                out. One that holds something else is refused.
            fresh: Whether to remove what an earlier run packed there.
            report: Called with what has been packed, at the beginning and after each file.
        """
        target = PackFolder(folder, self.source.kind)
        try:
            with target.locked():
                tally = target.begin(self._settings, fresh)
                report(tally)
                self._pack(target, tally, report)
                self._check(target, tally)
                return tally
        except OSError as error:
            raise DataError(
                f"Can't write shards to {str(folder)!r}: {error.strerror or error}. Shards that are complete are "
                'kept: once this is fixed, the same command continues after them.'
            ) from error

    def estimate(self, num_tried: int | None = None) -> tuple[Tally, int, int]:
        """Packs some files (32 videos or 512 images) to nowhere, evenly spread.

        Returns what all would take, and how many were tried and bad.
        """
        num_tried = num_tried or _NUM_TRIED[self.source.kind]
        chosen = np.unique(np.linspace(0, len(self) - 1, num_tried).round().astype(int))
        with closing(self._recode(chosen)) as outcomes:
            results = list(outcomes)
        good = [result.value for result in results if result.value is not None]
        if not good:
            raise DataError(
                f'None of the {len(results)} files that were tried can be read. The first: {results[0].error}'
            )
        share = len(self) / len(results)
        tally = Tally(
            num_files=len(self),
            num_samples=round(share * len(good)),
            num_frames=round(share * sum(sample.recoded.num_frames for sample in good)),
            bytes_in=round(share * sum(sample.bytes_in for sample in good)),
            bytes_out=round(share * sum(_size_in_shard(sample) for sample in good)),
            seconds=share * sum(sample.seconds for sample in good) / self._num_workers,
        )
        return tally, len(results), len(results) - len(good)

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """Returns all settings that the shards depend on."""
        files = hashlib.sha256()
        for index in self._order:
            notes = _notes(self.source, int(index))
            files.update(json.dumps(notes).encode() + b'\n')
        return dict(
            version=_VERSION,
            recipe=type(self.recipe).__name__,
            **asdict(self.recipe),  # type: ignore[call-overload]  # each recipe is a dataclass
            max_samples=self.max_samples,
            max_bytes=self.max_bytes,
            shuffle_seed=self.shuffle_seed,
            num_files=len(self),
            files=files.hexdigest(),
        )

    def _recode(self, numbers: Iterable[int]) -> _Outcomes:
        """Reads and encodes the files at some places of the order; yields them as they are ready."""
        return run_isolated(
            partial(_recode, self.source, self.recipe, self._order),
            map(int, numbers),
            num_workers=self._num_workers,
            seconds=self.seconds,
        )

    def _pack(self, target: PackFolder, tally: Tally, report: Callable[[Tally], None]) -> None:
        first, begun = tally.num_files, time.monotonic() - tally.seconds
        with (
            target.opened_bad_files(tally.num_bad) as bad_files,
            closing(self._recode(range(first, len(self)))) as outcomes,
            closing(_in_order(outcomes, first, target.path)) as samples,
        ):
            while tally.num_files < len(self):
                self._fill_shard(target, samples, tally, bad_files, report)
                bad_files.flush()
                tally.seconds = time.monotonic() - begun
                target.note(self._settings, tally)

    def _fill_shard(
        self,
        target: PackFolder,
        samples: _Outcomes,
        tally: Tally,
        bad_files: BinaryIO,
        report: Callable[[Tally], None],
    ) -> None:
        """Writes one shard; none, if none of the files that are left is good."""
        path = target.shard(tally.num_shards)
        shard: ShardWriter | None = None
        with ExitStack() as opened:
            for outcome in samples:
                tally.num_files += 1
                if outcome.value is None:
                    bad_files.write(self._bad_line(outcome))
                else:
                    shard = shard or opened.enter_context(write_shard(path))
                    _add(shard, outcome.item, outcome.value, tally)
                report(tally)
                if shard and (len(shard) >= self.max_samples or shard.num_bytes >= self.max_bytes):
                    break
        if shard:
            tally.num_shards += 1
            tally.bytes_out += os.path.getsize(path)

    def _bad_line(self, outcome: Outcome[int, _Sample]) -> bytes:
        """Returns a line as in the report of `vicmae verify`."""
        path = _known(self.source, int(self._order[outcome.item]))['path']
        error = outcome.error or ''
        if path not in error:  # not in our own words, but of a crash
            error = f"Can't read {path!r}: {error}."
        verdict = Verdict(path, self.source.kind, ok=False, error=error)
        return to_json_line(verdict._asdict()).encode()

    def _check(self, target: PackFolder, tally: Tally) -> None:
        """Raises an error where what can be read back isn't what was packed."""
        shards = [target.shard(number) for number in range(tally.num_shards)]
        num_samples = 0
        checked = run_isolated(
            check_shard, shards, num_workers=self._num_workers, seconds=24 * 3600
        )
        with closing(checked):
            for outcome in checked:
                if outcome.value is None:
                    raise DataError(f'{outcome.error} Start over with `--fresh`.')
                num_samples += outcome.value
        if num_samples != tally.num_samples:
            raise DataError(
                f'{str(target.path)!r} holds {num_samples} samples, but {tally.num_samples} were packed. '
                'Start over with `--fresh`.'
            )


# ------------------------------------------------------------------------------ one file
def _recode(source: CatalogueSource, recipe: Recipe, order: np.ndarray, number: int) -> _Sample:
    """Encodes a sample in a separate process."""
    be_one_of_many()
    begun = time.perf_counter()
    index = int(order[number])
    known = source.get_data_info(index)
    recoded = recipe(known)
    notes = {**_notes(source, index), **recoded.notes}
    return _Sample(recoded, notes, _num_bytes(known), time.perf_counter() - begun)


def _known(source: CatalogueSource, index: int) -> dict[str, Any]:
    """Returns what is known of a file without opening it."""
    return source.catalogue[source.number_of(index)]


def _notes(source: CatalogueSource, index: int) -> dict[str, Any]:
    """Returns the entry of a file in the shards, the same wherever its data root is."""
    known, root = _known(source, index), getattr(source, 'data_root', '')
    path = known['path']
    if root and Path(path).is_relative_to(root):
        path = os.path.relpath(path, root)
    path = os.fsencode(path).decode(errors='replace')  # it need not be UTF-8
    notes: dict[str, Any] = dict(path=path)
    if known['gt_label'] != NO_LABEL:
        notes['label'] = int(known['gt_label'])
    if 'class_name' in known:
        notes['class_name'] = known['class_name']
    return notes


def _num_bytes(known: dict[str, Any]) -> int:
    """Returns the size of a file, or of all files in a folder of frames; 0 for frames in a shard."""
    if isinstance(known.get('media'), bytes):
        return len(known['media'])
    path = Path(known['path'])
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir())
    return path.stat().st_size if path.is_file() else 0


def _add(shard: ShardWriter, number: int, sample: _Sample, tally: Tally) -> None:
    shard.add(f'{number:09d}', sample.recoded.members, sample.notes)
    tally.num_samples += 1
    tally.num_frames += sample.recoded.num_frames
    tally.num_key_frames += sample.recoded.num_key_frames
    tally.bytes_in += sample.bytes_in


def _size_in_shard(sample: _Sample) -> int:
    """Bytes of a sample in a tar file: each member has a header, and begins at a multiple of 512."""
    sizes = [len(content) for content in sample.recoded.members.values()]
    return sum(512 + size + -size % 512 for size in sizes) + 1024


def _in_order(outcomes: _Outcomes, first: int, folder: Path) -> _Outcomes:
    """Yields outcomes by their numbers, from the first on. Those that come early wait."""
    waiting: dict[int, int] = {}  # number -> where in the store
    with tempfile.SpooledTemporaryFile(_MAX_WAITING_BYTES, dir=str(folder)) as store:
        for outcome in outcomes:
            store.seek(0, os.SEEK_END)
            waiting[outcome.item] = store.tell()
            pickle.dump(outcome, store)
            while first in waiting:
                store.seek(waiting.pop(first))
                yield pickle.load(store)
                first += 1
            if not waiting:
                store.seek(0)
                store.truncate()
