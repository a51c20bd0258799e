# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Real processes that talk to each other over gloo, on one machine and without GPUs."""

import inspect
import multiprocessing
import pickle
import runpy
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

_modules: dict[str, dict[str, Any]] = {}  # files that a process of the pool has run, by path


class GlooPool:
    """Processes that stay, since importing torch takes each of them seconds; close it, or use `with`.

    Args:
        num_processes: The largest number of ranks that a run can have.

    Example:
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
        # Not fork: threads that torch has started by now don't survive it.
        self._context = multiprocessing.get_context('spawn')
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []
        self._num_processes = num_processes

    def run(
        self, function: Callable[..., Any], world_size: int, *args: Any, timeout: float = 120.0
    ) -> list[Any]:
        """Calls a function on each rank of a process group of its own.

        Args:
            function: A function at the top level of a file; its result can be pickled.
            world_size: Number of ranks.
            args: Arguments, the same on each rank.
            timeout: Seconds until the run is given up and the processes are ended.

        Returns:
            What each rank returned, in rank order.

        Raises:
            RuntimeError: The function failed on a rank: its traceback is in the message.
            TimeoutError: A rank didn't answer.
        """
        if not 1 <= world_size <= self._num_processes:
            raise ValueError(
                f'`world_size` must be between 1 and the {self._num_processes} processes of this pool, '
                f'got {world_size}.'
            )
        self._start(world_size)
        where = (inspect.getfile(function), function.__qualname__)
        with tempfile.TemporaryDirectory() as folder:
            store = str(Path(folder) / 'store')
            for rank, pipe in enumerate(self._pipes[:world_size]):
                pipe.send_bytes(pickle.dumps((where, rank, world_size, store, timeout, args)))
            answers = self._collect(world_size, timeout)
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
            process.join()
        self._processes, self._pipes = [], []

    def __enter__(self) -> 'GlooPool':
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _start(self, num_processes: int) -> None:
        while len(self._processes) < num_processes:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def _collect(self, world_size: int, timeout: float) -> list[tuple[bool, Any]]:
        """Waits for each rank's (whether it went well, result or traceback)."""
        deadline = time.monotonic() + timeout
        answers: list[tuple[bool, Any]] = []
        for rank, pipe in enumerate(self._pipes[:world_size]):
            if not pipe.poll(max(deadline - time.monotonic(), 0)):
                self.close()
                raise TimeoutError(
                    f'Rank {rank} of {world_size} gave no answer in {timeout:g} s. Raise `timeout`, or look '
                    'for a collective that not all ranks reach.'
                )
            try:
                answers.append(pickle.loads(pipe.recv_bytes()))
            except EOFError:
                self.close()
                raise RuntimeError(
                    f'Rank {rank} of {world_size} ended without an answer.'
                ) from None
        return answers


def _serve(pipe: Connection) -> None:
    """What a process of the pool does: one task after the other, until the pool is closed."""
    torch.set_num_threads(1)  # the ranks share the cores
    while True:
        try:
            task = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        try:
            answer = pickle.dumps((True, _run_task(*task)))
        except Exception:
            answer = pickle.dumps((False, traceback.format_exc()))
        pipe.send_bytes(answer)


def _run_task(
    where: tuple[str, str], rank: int, world_size: int, store: str, timeout: float, args: tuple
) -> Any:
    function = _load_function(*where)
    dist.init_process_group(
        'gloo',
        init_method=f'file://{store}',
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=timeout),
    )
    try:
        return function(*args)
    finally:
        dist.destroy_process_group()


def _load_function(path: str, name: str) -> Callable[..., Any]:
    """Finds a function by its file: a test file is not always importable by a name."""
    if path not in _modules:
        _modules[path] = runpy.run_path(path, run_name=f'_on_ranks_{Path(path).stem}')
    return _modules[path][name]
