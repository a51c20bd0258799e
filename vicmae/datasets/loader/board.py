# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Records the sample that each worker is loading, to find the file at which a worker hangs or dies."""

import os
import time
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import get_worker_info

_PID, _INDEX, _EPOCH, _VISITS, _SINCE = range(5)


class Note(NamedTuple):
    """The sample that a worker is loading."""

    pid: int  # process of the worker
    index: int  # type: ignore[assignment]  # position in the data set; shadows tuple.index
    epoch: int
    visits: int  # number of visits to the sample that are loaded together
    seconds: float  # time since loading started


class Board:
    """Shared memory in which each worker notes the sample that it is loading."""

    def __init__(self, num_workers: int) -> None:
        self._cells = torch.zeros(max(num_workers, 1), 5, dtype=torch.int64).share_memory_()

    def begin(self, index: int, epoch: int, visits: int) -> None:
        """Notes that this process starts to load a sample."""
        row = self._own_row()
        row[_PID], row[_INDEX], row[_EPOCH], row[_VISITS] = os.getpid(), index, epoch, visits
        row[_SINCE] = time.monotonic_ns()  # written last: it makes the note valid

    def end(self) -> None:
        """Notes that this process has loaded its sample."""
        self._own_row()[_SINCE] = 0

    def clear(self) -> None:
        """Deletes all notes."""
        self._cells.zero_()

    def busy(self) -> list[Note]:
        """Returns the notes of workers that are loading a sample."""
        now = time.monotonic_ns()
        return [
            Note(pid, index, epoch, visits, (now - since) / 1e9)
            for pid, index, epoch, visits, since in self._cells.tolist()
            if since
        ]

    def _own_row(self) -> np.ndarray:
        worker = get_worker_info()
        return self._cells.numpy()[worker.id if worker else 0]
