# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""How many samples a loader delivers."""

import time
from collections.abc import Callable
from itertools import chain, repeat

from torch.utils.data import DataLoader

from vicmae.structures import as_batch


def samples_per_second(
    loader: DataLoader,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    report: Callable[[float], None] = lambda share: None,
) -> float:
    """Takes batches as fast as they come, epoch after epoch, after each worker has delivered one.

    Args:
        loader: Delivers `Views` or `Clips`.
        seconds: For how long, or until each worker has delivered as many batches as the others.
        clock: Tells the time.
        report: Called now and then with the share of the time that is over.
    """
    if not len(loader):
        raise ValueError('The loader has not one batch: lower its batch size.')
    workers = max(1, loader.num_workers)
    batches = chain.from_iterable(repeat(loader))
    for _ in range(workers):
        next(batches)
    count, begun = 0, clock()
    while True:
        # Workers that began together deliver together: whole rounds are counted.
        for _ in range(workers):
            count += len(as_batch(next(batches)))
        elapsed = clock() - begun
        report(min(1.0, elapsed / seconds))
        if elapsed >= seconds:
            return count / elapsed
