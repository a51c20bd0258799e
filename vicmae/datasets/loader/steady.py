# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A data loader that continues after a bad file, or a worker that hangs or dies."""

import copy
import os
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from multiprocessing import active_children, parent_process
from multiprocessing.connection import wait
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Sampler

from vicmae.errors import ConfigError, DataError, VicmaeError
from vicmae.structures import as_batch
from vicmae.utils.log import warn

from ..bad_files import BadFile, BadFileLedger
from ..sample_key import SampleKey
from ..samplers import MixtureSampler
from .board import Board, Note
from .collate import kind_of
from .guard import GuardedDataset, Report, index_of

# Exit codes at signals from outside, which are not the fault of a file. 0 is torch's at SIGTERM from the parent.
_ASKED_TO_END = (0, -signal.SIGTERM, -signal.SIGINT, -signal.SIGUSR1)
_WORKER_OPTIONS = (
    'num_workers',
    'collate_fn',
    'pin_memory',
    'worker_init_fn',
    'multiprocessing_context',
    'prefetch_factor',
    'persistent_workers',
)


class Delivery(NamedTuple):
    """A batch and its report. The batch is None if no sample could be loaded, an error if samples don't fit."""

    batch: Any
    report: Report


class _Collate:
    """Collates the samples of a batch, and passes the report through."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, loaded: tuple[list[Any], Report]) -> Delivery:
        samples, report = loaded
        try:
            return Delivery(self.collate(samples) if samples else None, report)
        except (RuntimeError, ValueError):
            packed = all(isinstance(sample, Mapping) and 'inputs' in sample for sample in samples)
            kinds = {kind_of(sample) for sample in samples} if packed else set()
            if len(kinds) < 2:
                raise
            # The loader raises it, without the stack of a worker.
            return Delivery(ConfigError(_several_kinds_text(kinds)), report)


def _several_kinds_text(kinds: set[tuple[Any, ...]]) -> str:
    shapes = ' and '.join(sorted(str(list(kind)) for kind in kinds))
    return (
        f"`train_dataloader.collate_fn` can't join samples whose views have the shapes {shapes}. Set "
        "`train_dataloader.collate_fn=dict(type='collate_by_kind')`, or "
        "`train_dataloader.batch_sampler=dict(type='OneSourceBatches')` for one source a step."
    )


class _Begin:
    """Starts a worker that ends with its parent. Those of torch may wait for ever, at start or when sending."""

    def __init__(self, worker_init: Callable[[int], None] | None) -> None:
        self.worker_init = worker_init

    def __call__(self, worker: int) -> None:
        parent = parent_process()
        if parent is not None:
            threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
        if self.worker_init is not None:
            self.worker_init(worker)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


class _Rest(Sampler):
    """Samples the batches of an epoch from `start` on. Earlier ones are skipped without loading them."""

    def __init__(self, batch_sampler: Any) -> None:
        self.batch_sampler = batch_sampler
        self.start = 0

    def __iter__(self) -> Iterator[Any]:
        return islice(self.batch_sampler, self.start, None)

    def __len__(self) -> int:
        return len(self.batch_sampler)


class SteadyLoader(DataLoader):
    """A DataLoader that replaces bad files, restarts dead workers and resumes within an epoch.

    - A file that can't be read (`DataError`) is added to the list of bad files, and replaced by another of its source,
      which depends only on the sample's key.
    - If a worker dies, or loads one file for longer than `sample_seconds`, the file is listed, and the workers are
      restarted at the same batch. Without workers (`num_workers=0`), such a file ends the run.
    - `skip(n)` starts the next epoch at batch n, without loading earlier ones, to resume a run.

    Args:
        dataset: Data set, indexed by `SampleKey` or number. It may have sources (`MixedDataset`), and a method
            `path_of` that returns the file of a sample.
        ledger: The list of bad files.
        replace: Whether bad samples are replaced, as in training. Otherwise they are left out, as in evaluation.
        stand_ins: Whether bad samples are replaced in evaluation, so that all ranks run the same number of batches.
            Metrics count each sample only once (`each_once`).
        sample_seconds: Time limit of loading one file, in seconds.
        options: Options of torch's DataLoader.

    Attributes:
        seen: Number of samples loaded from each source.
        notes: Number of logged events, such as a video that is shorter than its window.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        ledger: BadFileLedger | None = None,
        replace: bool = True,
        stand_ins: bool = False,
        sample_seconds: float = 120.0,
        **options: Any,
    ) -> None:
        if not sample_seconds > 0:
            raise ValueError(f'`sample_seconds` must be positive, got {sample_seconds}.')
        super().__init__(dataset, **options)
        if self.batch_size is not None and isinstance(self.sampler, MixtureSampler):
            self.sampler.batch_size = self.batch_size
        self.ledger = BadFileLedger() if ledger is None else ledger
        self.replace = replace
        self.sample_seconds = sample_seconds
        self.seen: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self._skipped = 0
        self._board = Board(self.num_workers)
        self._guarded = GuardedDataset(dataset, self._board, replace=replace, stand_ins=stand_ins)
        self._rest = _Rest(self.batch_sampler)
        self._inner: DataLoader | None = None
        self._late: set[int] = set()
        self._processes: dict[int, Any] = {}
        # Number of listed visits at which a worker died, by epoch and index, until a worker reports them again.
        self._counted: Counter[tuple[int, int]] = Counter()

    @classmethod
    def around(cls, loader: DataLoader, **options: Any) -> 'SteadyLoader':
        """Makes a loader with the options of an unused DataLoader."""
        batched = loader.batch_size is not None
        names = ['batch_size', 'sampler', 'drop_last'] if batched else ['batch_sampler']
        batches = {name: getattr(loader, name) for name in names}
        return cls(loader.dataset, **batches, **_worker_options(loader), **options)

    def skip(self, num_batches: int) -> None:
        """Starts the next epoch after `num_batches` batches."""
        self._skipped = num_batches

    def keys_of(self, epoch: int, number: int) -> list[Any]:
        """Returns the sample keys of one batch of any epoch, counted from 0, without moving the loader."""
        batches: Any = copy.copy(self.batch_sampler)
        batches.sampler = copy.copy(batches.sampler)
        if hasattr(batches.sampler, 'set_epoch'):
            batches.sampler.set_epoch(epoch)
        with torch.random.fork_rng(devices=[]):  # torch's samplers draw random numbers
            return list(next(islice(batches, number, None), ()))

    def file_of(self, key: SampleKey | int) -> str:
        """Returns the file of a key's sample, for messages."""
        return self._guarded.file_of(index_of(key))

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch promises its own class
        delivered, self._skipped = self._skipped, 0
        restarted_at = -1
        # Samples of workers that were ended from outside since the last batch.
        excused: set[int] = set()
        while True:
            self._rest.start = delivered
            self._share_fatal_files()
            try:
                for batch, report in self._deliveries():
                    delivered += 1
                    excused.clear()
                    self._account(report)
                    if isinstance(batch, Exception):
                        raise batch
                    if batch is not None:
                        typed = isinstance(batch, Mapping) and 'inputs' in batch
                        yield as_batch(batch) if typed else batch
                return
            except VicmaeError:
                raise
            # If a worker died, torch raises a RuntimeError, or any error when receiving a batch from it.
            except Exception as error:
                dead = self._dead_workers()
                notes = [note for note in self._board.busy() if note.pid in dead]
                lost = [note for note in notes if self._is_to_blame(note, excused)]
                newly_excused = {note.index for note in notes} - {note.index for note in lost}
                if not dead or (not lost and not newly_excused and delivered == restarted_at):
                    raise
                excused |= newly_excused
                when = ' while it was not loading a file' if not notes else ''
                cause = f'{type(error).__name__}: {error}'
                warn(f'A worker died{when} ({cause}). Restarting the workers.')
            restarted_at = delivered
            bad_files = [self._describe_lost(note) for note in lost]
            self._end_workers()
            for bad in bad_files:
                self._counted[bad.epoch, bad.index] += bad.visits
                self.ledger.add(bad)

    def _share_fatal_files(self) -> None:
        """Sends the workers the list of files not to open, including those of other ranks and loaders."""
        self.ledger.refresh()
        if self._guarded.fatal_files != self.ledger.fatal_files:
            self._guarded.fatal_files = set(self.ledger.fatal_files)
            self._end_workers()  # persistent workers have an older list

    def _end_workers(self) -> None:
        self._inner = None  # ends the workers
        self._processes = {}
        self._late.clear()
        self._board.clear()

    def _deliveries(self) -> Iterator[Delivery]:
        if self._inner is None:
            with warnings.catch_warnings():
                # torch has already warned about the number of workers.
                warnings.simplefilter('ignore')
                options = _worker_options(self)
                options['collate_fn'] = _Collate(self.collate_fn)
                options['worker_init_fn'] = _Begin(self.worker_init_fn)
                # A separate generator, since a restart must not draw from torch's global one.
                options['generator'] = torch.Generator()
                self._inner = DataLoader(self._guarded, batch_sampler=self._rest, **options)
        if not self.num_workers:
            yield from self._inner
            return
        before = {process.pid for process in active_children()}
        with _deaths_noticed_when_waiting():
            iterator = iter(self._inner)
        started: dict[Any, Any] = {p.pid: p for p in active_children() if p.pid not in before}
        self._processes = started or self._processes  # empty if persistent workers are running
        stop = threading.Event()
        threading.Thread(target=self._watch, args=(stop,), daemon=True).start()
        try:
            yield from iterator
        finally:
            stop.set()

    def _watch(self, stop: threading.Event) -> None:
        """Kills workers that load one file for too long. They are then handled like any dead worker."""
        while not stop.wait(min(1.0, self.sample_seconds / 4)):
            for note in self._board.busy():
                if note.seconds > self.sample_seconds and note.pid not in self._late:
                    self._late.add(note.pid)
                    os.kill(note.pid, signal.SIGKILL)

    def _dead_workers(self) -> set[int]:
        # Receiving a batch may fail shortly before the worker has ended.
        ended = wait([process.sentinel for process in self._processes.values()], timeout=1.0)
        dying = [process for process in self._processes.values() if process.sentinel in ended]
        for process in dying:
            process.join(timeout=1.0)
        return {process.pid for process in dying if not process.is_alive()}

    def _is_to_blame(self, note: Note, excused: set[int]) -> bool:
        """Returns whether a sample killed its worker: not if it was ended from outside (Slurm), unless twice at it."""
        asked_to_end = self._processes[note.pid].exitcode in _ASKED_TO_END
        return not asked_to_end or note.index in excused

    def _describe_lost(self, note: Note) -> BadFile:
        return self._guarded.describe(
            note.index, self._cause(note.pid), epoch=note.epoch, visits=note.visits, fatal=True
        )

    def _cause(self, pid: int) -> str:
        if pid in self._late:
            return f'Took longer than {self.sample_seconds:g} s to load.'
        code = self._processes[pid].exitcode
        killed = code is not None and code < 0
        cause = signal.Signals(-code).name if killed else f'exit {code}'
        return f'Killed the process that loaded it ({cause}).'

    def _account(self, report: Report) -> None:
        self.seen.update(report.seen)
        self.notes.update(report.notes)
        self.ledger.num_samples += sum(report.seen.values())
        for bad in report.bad:
            counted = min(self._counted[bad.epoch, bad.index], bad.visits)
            self._counted[bad.epoch, bad.index] -= counted
            if bad.visits > counted:
                # List all files. The error raised below says more than that there are too many.
                with suppress(DataError) if report.no_good_file else nullcontext():
                    self.ledger.add(bad._replace(visits=bad.visits - counted))
        if report.no_good_file:
            listed = f' {str(self.ledger.path)!r} lists them.' if self.ledger.path else ''
            raise DataError(
                f'{report.no_good_file}{listed} Inspect one of them, or check the whole source with '
                '`vicmae verify FOLDER --out report.jsonl`.'
            )


def _worker_options(loader: DataLoader) -> dict[str, Any]:
    return {name: getattr(loader, name) for name in _WORKER_OPTIONS}


@contextmanager
def _deaths_noticed_when_waiting() -> Iterator[None]:
    """Keeps torch from raising an error when a worker dies, possibly in the middle of a training step."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    yield
    torchs = getattr(before, '__module__', '').startswith('torch.utils.data')
    signal.signal(signal.SIGCHLD, signal.SIG_DFL if torchs or before is None else before)
