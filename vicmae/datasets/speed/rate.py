# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""How many samples a loader delivers."""

import time
from itertools import chain, repeat

from torch.utils.data import DataLoader


def samples_per_second(loader: DataLoader, seconds: float) -> float:
    """Takes batches as fast as they come, epoch after epoch, after each worker has delivered one.

    Args:
        loader: Batches with views under `inputs`.
        seconds: For how long, or until each worker has delivered as many batches as the others.
    """
    if not len(loader):
        raise ValueError('The loader has not one batch: lower its batch size.')
    workers = max(1, loader.num_workers)
    count, begun = 0, 0.0
    for number, batch in enumerate(chain.from_iterable(repeat(loader))):
        now = time.perf_counter()
        if number < workers:
            begun = now
            continue
        count += len(batch['inputs'][0])
        # Workers that began together deliver together: whole rounds are counted.
        if now - begun >= seconds and (number + 1) % workers == 0:
            return count / (now - begun)
    raise AssertionError('the epochs never end')  # noqa: S101
