# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""A data loader that goes on: a bad file, or a decoder that hangs or dies, costs one sample and not the run."""

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

from vicmae.errors import DataError, VicmaeError
from vicmae.structures import as_batch
from vicmae.utils.log import warn

from ..bad_files import BadFile, BadFileLedger
from ..sample_key import SampleKey
from ..samplers import MixtureSampler
from .board import Board, Note
from .guard import GuardedDataset, Report, index_of

# Exit codes of workers at a signal that need say nothing about their file; 0 is torch's for SIGTERM from the parent.
_ASKED_TO_END = (0, -signal.SIGTERM, -signal.SIGINT, -signal.SIGUSR1)


class Delivery(NamedTuple):
    """A batch, None where no sample is left of it, and the report on it."""

    batch: Any
    report: Report


class _Collate:
    """Collates the samples of a batch and leaves the report as it is."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, loaded: tuple[list[Any], Report]) -> Delivery:
        samples, report = loaded
        return Delivery(self.collate(samples) if samples else None, report)


class _Begin:
    """Begins a worker, unless the process that started it is gone: torch's worker would wait for it for ever."""

    def __init__(self, worker_init: Callable[[int], None] | None) -> None:
        self.worker_init = worker_init

    def __call__(self, worker: int) -> None:
        parent = parent_process()
        if parent is not None and not parent.is_alive():
            os._exit(1)
        if self.worker_init is not None:
            self.worker_init(worker)


class _Rest(Sampler):
    """The batches of an epoch from one on. The ones before are passed over without being loaded."""

    def __init__(self, batch_sampler: Any) -> None:
        self.batch_sampler = batch_sampler
        self.start = 0

    def __iter__(self) -> Iterator[Any]:
        return islice(self.batch_sampler, self.start, None)

    def __len__(self) -> int:
        return len(self.batch_sampler)


class SteadyLoader(DataLoader):
    """A DataLoader for runs of days.

    - A file that can't be read (`DataError`) is replaced by another of its source, which follows from the sample's key,
      and goes into the ledger.
    - A worker that dies, or is at one file for longer than `sample_seconds`, costs that file only: it goes into the
      ledger, the workers start anew, and the batches go on from the same place in the same order.
    - `skip(n)` begins the next epoch at batch n at once, for a resume.

    Without workers (`num_workers=0`) a file that hangs or crashes takes the run with it.

    Args:
        dataset: Samples by key. It may name its sources (`MixedDataset`), and the file of a sample (`path_of`).
        ledger: Of bad files.
        replace: Whether bad samples are replaced, as training needs; evaluation leaves them out.
        stand_ins: Whether evaluation puts another sample into the place of a bad one, where all ranks must run equally
            many batches of one size. It is in the evaluation twice then, and metrics count it once (`each_once`).
        sample_seconds: How long a worker may be at one file.
        options: As of torch's DataLoader.

    Attributes:
        seen: Number of samples from each source so far.
        notes: How often something happened that a user may want to know, such as a video shorter than its window.
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
        # Visits to samples at which a worker died, counted as bad then: by epoch and index, until they are refused.
        self._counted: Counter[tuple[int, int]] = Counter()

    @classmethod
    def around(cls, loader: DataLoader, **options: Any) -> 'SteadyLoader':
        """One that is like a DataLoader which nobody has used yet."""
        if loader.batch_size is None:
            batches: dict[str, Any] = dict(batch_sampler=loader.batch_sampler)
        else:
            batches = dict(
                batch_size=loader.batch_size, sampler=loader.sampler, drop_last=loader.drop_last
            )
        return cls(loader.dataset, **batches, **_worker_options(loader), **options)

    def skip(self, num_batches: int) -> None:
        """Begins the next epoch behind so many batches."""
        self._skipped = num_batches

    def keys_of(self, epoch: int, number: int) -> list[Any]:
        """What the sampler names in a batch of any epoch; the place where the loader is stays as it is.

        Args:
            epoch: The epoch.
            number: Which batch of it, counted from 0.
        """
        batches = copy.copy(self.batch_sampler)
        batches.sampler = copy.copy(batches.sampler)  # type: ignore[union-attr]  # ours and torch's have one
        if hasattr(batches.sampler, 'set_epoch'):  # type: ignore[union-attr]
            batches.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        with torch.random.fork_rng(devices=[]):  # torch's samplers draw
            return list(next(islice(batches, number, None), ()))  # type: ignore[arg-type]

    def file_of(self, key: SampleKey | int) -> str:
        """What people call the sample that a key names."""
        return self._guarded.file_of(index_of(key))

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch promises a class of its own
        delivered, self._skipped = self._skipped, 0
        restarted_at = -1
        excused: set[int] = (
            set()
        )  # samples at which a worker was asked to end, since the last batch
        while True:
            self._rest.start = delivered
            self._tell_fatal_files()
            try:
                for batch, report in self._deliveries():
                    delivered += 1
                    excused.clear()
                    self._account(report)
                    if batch is not None:
                        typed = isinstance(batch, Mapping) and 'inputs' in batch
                        yield as_batch(batch) if typed else batch
                return
            except VicmaeError:
                raise
            # A dead worker shows as a RuntimeError of torch, or by whatever fails in taking over a batch that it
            # had announced.
            except Exception as error:
                dead = self._dead_workers()
                notes = [note for note in self._board.busy() if note.pid in dead]
                lost = [note for note in notes if self._is_to_blame(note, excused)]
                newly_excused = {note.index for note in notes} - {note.index for note in lost}
                if not dead or (not lost and not newly_excused and delivered == restarted_at):
                    raise
                excused |= newly_excused
                at = ' while it was at no file' if not notes else ''
                warn(
                    f'A worker died{at} ({type(error).__name__}: {error}). Restarting the workers.'
                )
            restarted_at = delivered
            bad_files = [self._describe_lost(note) for note in lost]
            self._end_workers()
            for bad in bad_files:
                self._counted[bad.epoch, bad.index] += bad.visits
                self.ledger.add(bad)

    def _tell_fatal_files(self) -> None:
        """Tells the workers which files not to open, also those that other ranks and loaders have met."""
        self.ledger.refresh()
        if self._guarded.fatal_files != self.ledger.fatal_files:
            self._guarded.fatal_files = set(self.ledger.fatal_files)
            self._end_workers()  # persistent ones know of the former

    def _end_workers(self) -> None:
        self._inner = None  # takes the workers with it
        self._processes = {}
        self._late.clear()
        self._board.clear()

    def _deliveries(self) -> Iterator[Delivery]:
        if self._inner is None:
            with warnings.catch_warnings():
                # What torch thinks of the number of workers it has said already.
                warnings.simplefilter('ignore')
                self._inner = DataLoader(
                    self._guarded,
                    batch_sampler=self._rest,
                    **{
                        **_worker_options(self),
                        'collate_fn': _Collate(self.collate_fn),
                        'worker_init_fn': _Begin(self.worker_init_fn),
                    },
                    # Its own: starting anew must not move torch's global one.
                    generator=torch.Generator(),
                )
        if not self.num_workers:
            yield from self._inner
            return
        before = {process.pid for process in active_children()}
        with _deaths_noticed_when_waiting():
            iterator = iter(self._inner)
        started: dict[Any, Any] = {p.pid: p for p in active_children() if p.pid not in before}
        self._processes = started or self._processes  # persistent workers are there already
        stop = threading.Event()
        threading.Thread(target=self._watch, args=(stop,), daemon=True).start()
        try:
            yield from iterator
        finally:
            stop.set()

    def _watch(self, stop: threading.Event) -> None:
        """Kills workers that are too long at one file, which is then told like any other death."""
        while not stop.wait(min(1.0, self.sample_seconds / 4)):
            for note in self._board.busy():
                if note.seconds > self.sample_seconds and note.pid not in self._late:
                    self._late.add(note.pid)
                    os.kill(note.pid, signal.SIGKILL)

    def _dead_workers(self) -> set[int]:
        # What a worker had announced may fail a moment before it is gone.
        gone = wait([process.sentinel for process in self._processes.values()], timeout=1.0)
        dying = [process for process in self._processes.values() if process.sentinel in gone]
        for process in dying:
            process.join(timeout=1.0)
        return {process.pid for process in dying if not process.is_alive()}

    def _is_to_blame(self, note: Note, excused: set[int]) -> bool:
        """Whether a worker died of its sample. Slurm asks all processes of a job to end, but not twice at one."""
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
        how = f' (exit {code})'
        if code is not None and code < 0:
            how = f' ({signal.Signals(-code).name})'
        return f'Killed the process that loaded it{how}.'

    def _account(self, report: Report) -> None:
        self.seen.update(report.seen)
        self.notes.update(report.notes)
        self.ledger.num_samples += sum(report.seen.values())
        for bad in report.bad:
            known = min(self._counted[bad.epoch, bad.index], bad.visits)
            self._counted[bad.epoch, bad.index] -= known
            if bad.visits > known:
                # All get into the list, and what is raised then says more than "too many".
                with suppress(DataError) if report.no_good_file else nullcontext():
                    self.ledger.add(bad._replace(visits=bad.visits - known))
        if report.no_good_file:
            listed = f' {str(self.ledger.path)!r} lists them.' if self.ledger.path else ''
            raise DataError(
                f'{report.no_good_file}{listed} Look at one of them, or let tools/dataset_converters/verify.py check '
                'the whole source.'
            )


def _worker_options(loader: DataLoader) -> dict[str, Any]:
    names = (
        'num_workers',
        'collate_fn',
        'pin_memory',
        'worker_init_fn',
        'multiprocessing_context',
        'prefetch_factor',
        'persistent_workers',
    )
    return {name: getattr(loader, name) for name in names}


@contextmanager
def _deaths_noticed_when_waiting() -> Iterator[None]:
    """Keeps torch from raising at the moment a worker dies, which would be in the middle of a training step."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    yield
    torchs = getattr(before, '__module__', '').startswith('torch.utils.data')
    signal.signal(signal.SIGCHLD, signal.SIG_DFL if torchs or before is None else before)
