# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
import time
from collections.abc import Callable
from itertools import chain, repeat

from torch.utils.data import DataLoader

from vicmae.structures import as_batch


def samples_per_second(
    loader: DataLoader, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Takes batches as fast as they come, epoch after epoch, after each worker has delivered one."""
    if not len(loader):
        raise ValueError('The loader has not one batch: lower its batch size.')
    workers = max(1, loader.num_workers)
    batches = chain.from_iterable(repeat(loader))
    for _ in range(workers):
        next(batches)
    count, elapsed, start = 0, 0.0, clock()
    while elapsed < seconds:
        # Workers that began together deliver together: whole rounds are counted.
        count += sum(len(as_batch(next(batches))) for _ in range(workers))
        elapsed = clock() - start
    return count / elapsed
