#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""What a list of ten million lines costs: seconds to open and to start workers, and memory in all processes.

Each row is a fresh process that opens the list as a data set and starts a DataLoader, and the same with a list of a
thousand lines, whose memory and start are what Python and torch take anyway. Memory is what all processes together
have of their own: a page that they share counts once (PSS), those of programs and other files not at all. The list
itself is read from the system's cache of files, once for all processes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import active_children
from pathlib import Path

_FEW_LINES = 1000


def main() -> None:
    """Makes the lists, measures each number of workers, and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--lines', type=int, default=10_000_000, help='length of the list')
    parser.add_argument(
        '--workers', type=int, nargs='+', default=[1, 16], help='numbers of workers'
    )
    parser.add_argument(
        '--measure', nargs=3, metavar=('LIST', 'METHOD', 'WORKERS'), help=argparse.SUPPRESS
    )
    args = parser.parse_args()
    if args.measure:
        path, method, workers = args.measure
        print(json.dumps(measure(path, method, int(workers))))
        return
    with tempfile.TemporaryDirectory() as folder:
        long, short = write_list(folder, args.lines), write_list(folder, _FEW_LINES)
        print(
            f'{args.lines} lines, {os.path.getsize(long) / 1e6:.0f} MB. In brackets: {_FEW_LINES} lines.'
        )
        print('start  workers  open, s        workers ready, s   memory, MB')
        for method in ('fork', 'spawn'):
            for workers in args.workers:
                print_row(method, workers, *(run(path, method, workers) for path in (long, short)))


def write_list(folder: str, num_lines: int) -> str:
    """Writes a list of that many files, a thousand of which are there."""
    (Path(folder) / 'class_0000').mkdir(exist_ok=True)
    for number in range(1000):
        (Path(folder) / f'class_0000/image_{number:08d}_of_many.jpg').touch()
    path = os.path.join(folder, f'{num_lines}.txt')
    with open(path, 'w') as file:
        for start in range(0, num_lines, 1000):
            file.writelines(
                f'class_0000/image_{number:08d}_of_many.jpg {start // 1000 % 1000}\n'
                for number in range(min(1000, num_lines - start))
            )
    return path


def run(path: str, method: str, workers: int) -> dict[str, float]:
    """Calls `measure` in a process of its own."""
    command = [sys.executable, __file__, '--measure', path, method, str(workers)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(path: str, method: str, workers: int) -> dict[str, float]:
    """Opens a list and starts workers on it."""
    from torch.utils.data import DataLoader

    from vicmae.datasets import ImageFolder

    begun = time.perf_counter()
    dataset = ImageFolder(os.path.dirname(path), path)
    opened = time.perf_counter()
    # Far apart, so that each worker reads from everywhere.
    order = [number * 7919 % len(dataset) for number in range(64 * workers)]
    loader = DataLoader(
        dataset,
        batch_size=16,
        sampler=order,
        num_workers=workers,
        collate_fn=len,
        multiprocessing_context=method,
    )
    batches = iter(loader)
    for _ in range(workers):
        next(batches)
    ready = time.perf_counter()
    pids = [os.getpid(), *(process.pid for process in active_children())]
    return dict(open=opened - begun, ready=ready - opened, megabytes=sum(map(pss, pids)) / 1e6)


def pss(pid: int) -> int:
    """Bytes in memory of a process that are of no file, those that it shares divided by the number of processes."""
    text = Path(f'/proc/{pid}/smaps_rollup').read_text()
    return sum(
        1024 * int(text.partition(f'{name}:')[2].split()[0]) for name in ('Pss_Anon', 'Pss_Shmem')
    )


def print_row(method: str, workers: int, long: dict[str, float], short: dict[str, float]) -> None:
    """Prints what was measured with both lists."""
    cells = [f'{long[key]:6.2f} ({short[key]:.2f})' for key in ('open', 'ready')]
    cells.append(f'{long["megabytes"]:6.0f} ({short["megabytes"]:.0f})')
    print(f'{method:6} {workers:7}  {cells[0]:15}{cells[1]:19}{cells[2]}', flush=True)


if __name__ == '__main__':
    main()
