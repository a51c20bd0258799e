#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Measures how fast the data of a config come, where the time goes, and what would help most."""

import argparse
import json
import os
import sys
from contextlib import redirect_stdout
from typing import TextIO

try:
    from vicmae.cli.common import add_config_argument, add_config_options, run_tool
except ImportError as error:
    sys.exit(f'error: {error}\nRun `make setup`, then `source .venv/bin/activate`.')


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add_config_argument(parser)
    add('--num-workers', type=int, help="processes that load (the config's)")
    add('--batch-size', type=int, default=32, help='samples in a batch (%(default)s)')
    add('--seconds', type=float, default=10, help='time of each measurement (%(default)s)')
    add('--source', help='measure this source of the mixture only')
    text = 'what devices take; says how many workers each needs (%(default)s)'
    speeds = [500, 1000, 2000]
    add('--device-pairs-per-second', type=float, nargs='+', default=speeds, help=text)
    add('--no-trial', action='store_true', help='does nothing any more: nothing is tried')
    add('--json', action='store_true', help='print the figures as JSON')
    add_config_options(parser)
    args = parser.parse_args()
    if not args.seconds > 0:
        parser.error(f'--seconds must be more than 0, got {args.seconds:g}')
    return args


def main() -> None:
    """Measures the loader."""
    args = parse_args()
    results = sys.stdout
    with redirect_stdout(sys.stderr):  # for warnings, such as those of bad files
        measure(args, results)


def measure(args: argparse.Namespace, results: TextIO) -> None:
    """Measures one source after the other, and then all as training mixes them."""
    import torch
    from mmengine.logging import MMLogger
    from rich.console import Console

    from vicmae.apis import load_config
    from vicmae.data_tools.speed.measure import measure_mixture, measure_source, source_names
    from vicmae.utils.progress import share_bar

    MMLogger.get_instance('benchmark_loader')  # writes to where stdout leads now
    torch.set_num_threads(1)  # as in a worker
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > cores / 2:
        print(f'This machine is busy (load {load:.1f} on {cores} cores): figures are too low.')
    cfg = load_config(args.config, args.cfg_options)
    names = source_names(cfg, args.source)
    options = (args.num_workers, args.batch_size, args.seconds)
    speeds, mixture = [], None
    with share_bar('measuring', Console(stderr=True)) as report:
        for done, name in enumerate(names):
            report(done / len(names))
            speeds.append(measure_source(cfg, name, *options))
            if not args.json:
                text = speeds[-1].text(args.device_pairs_per_second)
                print(text, end='\n\n', file=results, flush=True)
        if len(names) > 1:
            mixture = measure_mixture(cfg, *options)
    if args.json:
        sources = [speed.as_dict() for speed in speeds]
        print(json.dumps(dict(sources=sources, mixture=mixture), indent=2), file=results)
    elif mixture is not None:
        print(f'All sources as training mixes them: {mixture:,.0f} samples/s.', file=results)


if __name__ == '__main__':
    run_tool(main)
