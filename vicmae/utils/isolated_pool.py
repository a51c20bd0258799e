# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Runs a function on many items in processes, so that an item that crashes or hangs costs no other one.

Decoders of other people's files are C code: a bad file may end the process that reads it, or keep it for ever.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from vicmae.errors import EnvironmentFault, VicmaeError

Item = TypeVar('Item')
Value = TypeVar('Value')

_STARTED = 'started'
_SECONDS_TO_DIE = 2.0
_SIGNAL_NAMES = {number.value: number.name for number in signal.Signals}
_seconds = 0.0  # that an item may take; set in the processes of a pool only


@dataclass(frozen=True)
class Outcome(Generic[Item, Value]):
    """The outcome of an item.

    Args:
        item: The item.
        value: What the function returned; None where there is an error.
        error: What went wrong, in words; None where nothing did.
        is_last: Whether nothing more comes of the item. A generator has an outcome for each value that it yields, and
            a last one without a value.
    """

    item: Item
    value: Value | None = None
    error: str | None = None
    is_last: bool = True


def run_isolated(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    num_workers: int,
    seconds: float,
    start_method: str = 'fork',
    in_order: bool = False,
) -> Generator[Outcome[Item, Value], None, None]:
    """Runs a function on each item; yields outcomes as they are ready, in any order.

    Of a generator function, each value that it yields is an outcome. It waits until this was taken, so that memory
    doesn't grow with the values.

    The outcome is an error if the function raises, if its process dies, or if it takes too long: then the process
    is killed, with all that it started, and another one takes its place. Items are taken from their iterable when
    a process is free for them, so it may be endless. No process outlives the iterator, whether that is read to its
    end, closed or interrupted. An ImportError is the environment's fault and no item's: it ends the whole.

    Args:
        function: Of one item, returning a value or an iterator of values; runs in other processes, one item after the
            other in each.
        items: What to run it on. They travel to the processes pickled, as what is returned does back.
        num_workers: How many processes to use; fewer start where there are fewer items.
        seconds: How long the function may take for an item; see also `restart_deadline`.
        in_order: Whether to yield the outcomes in the order of the items; processes wait for their turn.
        start_method: How processes start: 'fork' is quick; 'spawn' imports the function's module in each, for
            where this process has threads whose locks a fork would inherit.

    Example:
        >>> [outcome.value for outcome in run_isolated(abs, [-3], num_workers=1, seconds=60)]
        [3]
    """
    if num_workers < 1:
        raise ValueError(f'`num_workers` must be at least 1, got {num_workers}.')
    if not seconds > 0:
        raise ValueError(f'`seconds` must be more than 0, got {seconds}.')
    workers = [_Worker(function, seconds, start_method) for _ in range(num_workers)]
    return _outcomes(workers, iter(items), in_order)


def restart_deadline() -> None:
    """Restarts the seconds of the item at hand: for a function that makes progress.

    Does nothing outside the processes of a pool.
    """
    if _seconds:
        signal.setitimer(signal.ITIMER_REAL, _seconds)


def _outcomes(
    workers: list[_Worker], items: Iterator[Any], in_order: bool
) -> Generator[Outcome[Any, Any], None, None]:
    busy: dict[Connection, _Worker] = {}
    try:
        for worker, item in zip(workers, items, strict=False):
            busy[worker.begin(item)] = worker
        while busy:
            # Those that began first come first.
            waited_for = list(busy)[:1] if in_order else list(busy)
            for connection in wait(waited_for):
                worker = busy[connection]  # type: ignore[index]  # it is one of those waited for
                outcome = worker.outcome()
                if outcome is None:
                    continue
                if not outcome.is_last:
                    yield outcome
                    continue
                del busy[connection]  # type: ignore[arg-type]
                for item in islice(items, 1):
                    busy[worker.begin(item)] = worker
                yield outcome
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process that runs the function, or the next one after it died."""

    def __init__(self, function: Callable[[Any], Any], seconds: float, start_method: str) -> None:
        self._context: Any = multiprocessing.get_context(start_method)
        self._arguments = (function, seconds)
        self._process: Any = None
        self._connection: Any = None
        self._has_started = False
        self._item: Any = None

    def begin(self, item: Any) -> Connection:
        """Hands an item over; returns what is ready to be read when there is news of it."""
        self._item = item
        if self._process is None:
            self._start()
        # If the process has just died, `outcome` sees it.
        with suppress(BrokenPipeError):
            self._connection.send(item)
        return self._connection

    def outcome(self) -> Outcome[Any, Any] | None:
        """Returns the outcome of the item; None if the process only reports that it has started."""
        try:
            news = self._connection.recv()
        except (EOFError, OSError):  # closed, by its death, perhaps in the middle of an answer
            return self._death()
        if news == _STARTED:
            self._has_started = True
            return None
        value, error, is_last = news
        if isinstance(error, ImportError):  # of the environment: no item is to blame for it
            raise EnvironmentFault(str(error)) from error
        return Outcome(self._item, value, error, is_last)

    def end(self) -> int:
        """Kills the process and what it started; returns its exit code, which is 0 where there is none."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        with suppress(ProcessLookupError, PermissionError):  # nobody is left in its group
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()  # one that hasn't made its group yet
        process.join()
        self._connection.close()
        return process.exitcode

    def _start(self) -> None:
        self._has_started = False
        self._connection, other_end = self._context.Pipe()
        # A daemon: ended with this process even where the iterator is never closed.
        inherited = self._connection if self._context.get_start_method() == 'fork' else None
        self._process = self._context.Process(
            target=_work, args=(other_end, inherited, *self._arguments), daemon=True
        )
        self._process.start()
        other_end.close()

    def _death(self) -> Outcome[Any, Any]:
        self._process.join(_SECONDS_TO_DIE)  # by its own status, if it can
        exit_code = self.end()
        if not self._has_started:
            raise RuntimeError(
                f'A process of the pool ended with status {exit_code} before it had started; '
                'the function and its module must be importable in it.'
            )
        _, seconds = self._arguments
        if exit_code == -signal.SIGALRM:
            return Outcome(self._item, error=f'took longer than {seconds:g} s')
        if exit_code >= 0:
            return Outcome(self._item, error=f'ended its process with status {exit_code}')
        name = _SIGNAL_NAMES.get(-exit_code, f'signal {-exit_code}')
        hint = ', perhaps for want of memory' if exit_code == -signal.SIGKILL else ''
        return Outcome(self._item, error=f'killed its process ({name}{hint})')


def _work(
    connection: Connection,
    inherited: Connection | None,
    function: Callable[[Any], Any],
    seconds: float,
) -> None:
    """Runs items in a worker process until it is killed."""
    global _seconds
    if (
        inherited is not None
    ):  # the parent's end: with it open here, sending would block for ever after its death
        inherited.close()
    _seconds = seconds
    os.setpgid(0, 0)  # Ctrl-C is for the parent alone, and what an item starts can be ended with us
    # The kernel watches the time: its default for this signal ends a process whatever code that is in.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    connection.send(_STARTED)
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101  # for the type checker: this is a child
    while wait([connection, parent.sentinel]) == [connection]:  # else the parent was killed
        item = connection.recv()
        restart_deadline()
        for answer in _answers(function, item):
            signal.setitimer(signal.ITIMER_REAL, 0)
            try:
                connection.send(answer)
            except BrokenPipeError:
                return
            except Exception as error:  # the value can't be pickled
                connection.send((None, _in_words(error), True))
                break
            restart_deadline()
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answers(
    function: Callable[[Any], Any], item: Any
) -> Iterator[tuple[Any, str | ImportError | None, bool]]:
    try:
        value = function(item)
        if isinstance(value, Iterator):
            for part in value:
                yield part, None, False
            value = None
        yield value, None, True
    except ImportError as error:
        yield None, error, True
    except (Exception, SystemExit) as error:
        yield None, _in_words(error), True


def be_one_of_many() -> None:
    """Takes one core, as there is a process for each, and prints nothing of what C libraries think of a file."""
    import cv2
    import torch

    cv2.setNumThreads(0)  # 1 would wait for threads that a fork has left behind
    torch.set_num_threads(1)
    with open(os.devnull, 'w') as nowhere:
        os.dup2(nowhere.fileno(), 2)


def _in_words(error: BaseException) -> str:
    """Returns the message of our own errors, and that of others with their type."""
    return str(error) if isinstance(error, VicmaeError) else f'{type(error).__name__}: {error}'
