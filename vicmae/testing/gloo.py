# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Real processes that talk to each other over gloo, on one machine and without GPUs."""

import faulthandler
import inspect
import multiprocessing
import os
import pickle
import runpy
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

_SECONDS_TO_TELL = 1.0
_SECONDS_AFTER_A_FAILURE = 10.0
_SECONDS_TO_END = 10.0
# Ranks import what they run (seconds), and connect to each other at once; rarely, gloo leaves them waiting for ever.
_SECONDS_TO_MEET = 60.0
_ATTEMPTS_TO_MEET = 3
_MET = b'met'
# What functions on ranks import most often: once for all processes.
_PRELOADED = ('vicmae.testing.gloo', 'vicmae.apis', 'vicmae.models', 'vicmae.engine.hooks')

_modules: dict[str, dict[str, Any]] = {}  # files that a process of the pool has run, by path


class GlooPool:
    """Processes that stay for the next run; close it, or use `with`.

    Args:
        num_processes: The largest number of ranks that a run can have.

    Examples:
        >>> def add_up(number):  # at the top level of a file
        ...     total = torch.tensor(float(number) * dist.get_rank())
        ...     dist.all_reduce(total)
        ...     return total.item()
        >>> with GlooPool(2) as pool:  # doctest: +SKIP
        ...     pool.run(add_up, 2, 5)
        [5.0, 5.0]
    """

    def __init__(self, num_processes: int) -> None:
        if num_processes < 1:
            raise ValueError(f'`num_processes` must be at least 1, got {num_processes}.')
        # Not fork: threads that torch has started by now don't survive it. The server has started none.
        self._context = multiprocessing.get_context('forkserver')
        self._context.set_forkserver_preload(list(_PRELOADED))
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []
        self._stacks: list[Any] = []  # a file of each process: where it is, when it is asked
        self._num_processes = num_processes

    def run(
        self, function: Callable[..., Any], world_size: int, *args: Any, timeout: float = 120.0
    ) -> list[Any]:
        """Calls a function on each rank of a new process group.

        Args:
            function: A function at the top level of a file; its result can be pickled.
            world_size: Number of ranks.
            args: Arguments, the same on each rank.
            timeout: Seconds until the run is given up and the processes are ended.

        Returns:
            What each rank returned, in rank order.

        Raises:
            RuntimeError: The function failed on a rank: its traceback is in the message.
            TimeoutError: A rank didn't answer; where each rank waits is in the message.
        """
        if not 1 <= world_size <= self._num_processes:
            raise ValueError(
                f'`world_size` must be between 1 and the {self._num_processes} processes of this pool, '
                f'got {world_size}.'
            )
        where = (inspect.getfile(function), function.__qualname__)
        for attempt in range(1, _ATTEMPTS_TO_MEET + 1):
            self._start(world_size)
            with tempfile.TemporaryDirectory() as folder:
                store = str(Path(folder) / 'store')
                for rank, pipe in enumerate(self._pipes[:world_size]):
                    pipe.send_bytes(pickle.dumps((where, rank, world_size, store, timeout, args)))
                if attempt == _ATTEMPTS_TO_MEET or self._meet(world_size):
                    answers = self._collect(world_size, timeout)
                    break
            # Nothing of the function has run: it may well begin again.
            self.close()
            warnings.warn(
                f'{world_size} ranks did not connect in {_SECONDS_TO_MEET:g} s; new processes follow.',
                stacklevel=2,
            )
        failures = [f'Rank {rank}:\n{value}' for rank, (ok, value) in enumerate(answers) if not ok]
        if failures:
            raise RuntimeError('\n'.join(failures))
        return [value for _, value in answers]

    def close(self) -> None:
        """Ends the processes; a later run starts new ones."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(_SECONDS_TO_END)
            if process.is_alive():  # what ran there handles SIGTERM, or a thread of it doesn't end
                process.kill()
                process.join()
        for file in self._stacks:
            file.close()
        self._processes, self._pipes, self._stacks = [], [], []

    def __enter__(self) -> 'GlooPool':
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _start(self, num_processes: int) -> None:
        while len(self._processes) < num_processes:
            ours, theirs = self._context.Pipe()
            stacks = tempfile.NamedTemporaryFile('r')  # noqa: SIM115  (until the pool is closed)
            process = self._context.Process(target=_serve, args=(theirs, stacks.name), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
            self._stacks.append(stacks)

    def _meet(self, world_size: int) -> bool:
        """Waits for all ranks to connect or to answer. Returns False if one doesn't in time."""
        deadline = time.monotonic() + _SECONDS_TO_MEET
        silent = set(self._pipes[:world_size])
        while silent:
            ready = wait(list(silent), max(deadline - time.monotonic(), 0))
            if not ready:
                return False
            silent -= set(ready)
        return True

    def _collect(self, world_size: int, timeout: float) -> list[tuple[bool, Any]]:
        """Waits for each rank's (whether it went well, result or traceback)."""
        answers: dict[int, tuple[bool, Any]] = {}
        deadline = time.monotonic() + timeout
        while len(answers) < world_size:
            open_pipes = {
                self._pipes[rank]: rank for rank in range(world_size) if rank not in answers
            }
            ready = wait(list(open_pipes), max(deadline - time.monotonic(), 0))
            if not ready:
                break
            for rank in [rank for pipe, rank in open_pipes.items() if pipe in ready]:
                try:
                    message = self._pipes[rank].recv_bytes()
                    if message == _MET:
                        continue
                    answers[rank] = pickle.loads(message)
                except EOFError:
                    answers[rank] = (False, f'Rank {rank} of {world_size} ended without an answer.')
                if not answers[rank][0]:  # the others may wait for it forever
                    deadline = min(deadline, time.monotonic() + _SECONDS_AFTER_A_FAILURE)
        silent = [rank for rank in range(world_size) if rank not in answers]
        dead = [rank for rank in answers if not self._processes[rank].is_alive()]
        if not (silent or dead):
            return [answers[rank] for rank in range(world_size)]
        stacks = self._read_stacks(silent)
        self.close()
        failures = [f'Rank {rank}:\n{value}' for rank, (ok, value) in answers.items() if not ok]
        if failures:
            raise RuntimeError('\n'.join([*failures, stacks]))
        raise TimeoutError(
            f'Rank {silent[0]} of {world_size} gave no answer in {timeout:g} s. Raise `timeout`, or look '
            f'for a collective that not all ranks reach.\n{stacks}'
        )

    def _read_stacks(self, ranks: list[int]) -> str:
        """Reads the current stacks of these ranks."""
        for rank in ranks:
            if self._processes[rank].is_alive():
                os.kill(self._processes[rank].pid, signal.SIGUSR1)
        time.sleep(_SECONDS_TO_TELL if ranks else 0)
        texts = {rank: self._stacks[rank].read().strip() for rank in ranks}
        return '\n'.join(
            f'Rank {rank} waits:\n{stack or "(stack unknown)"}' for rank, stack in texts.items()
        )


def _serve(pipe: Connection, stacks: str) -> None:
    """Runs the tasks of one process of the pool until the pool is closed."""
    file = open(stacks, 'w')  # noqa: SIM115  (open as long as the process lives)
    faulthandler.register(signal.SIGUSR1, file=file)
    torch.set_num_threads(1)  # the ranks share the cores
    while True:
        try:
            task = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        try:
            answer = pickle.dumps((True, _run_task(pipe, *task)))
        except Exception:
            answer = pickle.dumps((False, traceback.format_exc()))
        pipe.send_bytes(answer)


def _run_task(
    pipe: Connection,
    where: tuple[str, str],
    rank: int,
    world_size: int,
    store: str,
    timeout: float,
    args: tuple,
) -> Any:
    function = _load_function(*where)
    dist.init_process_group(
        'gloo',
        init_method=f'file://{store}',
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=timeout),
    )
    pipe.send_bytes(_MET)
    try:
        return function(*args)
    finally:
        dist.destroy_process_group()


def _load_function(path: str, name: str) -> Callable[..., Any]:
    """Finds a function by its file: a test file is not always importable by a name."""
    if path not in _modules:
        _modules[path] = runpy.run_path(path, run_name=f'_on_ranks_{Path(path).stem}')
    return _modules[path][name]
