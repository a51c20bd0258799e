#!/usr/bin/env python
# Copyright (c) the vicmae authors. SPDX-License-Identifier: Apache-2.0
"""Trains the first steps of a run, and shows the first loss that is not as it was.

The checked-in losses allow for the rounding of other processors. For equality bit for bit, compare two checkouts on
one machine: `git worktree add /tmp/before main`, and `--against /tmp/before`.
"""

import argparse
import json
import sys
from pathlib import Path

try:
    from vicmae.cli.common import run_tool
except ImportError as error:
    sys.exit(f'error: {error}\nRun `make setup`, then `source .venv/bin/activate`.')

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / 'tests/data/losses'
RUNS = {
    'debug': ('configs/vicmae/vicmae_vit-tiny-p8_debug.py', 16),
    'demo': ('configs/vicmae/vicmae_vit-tiny-p8_demo.py', 50),
}


def parse_args() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'runs', nargs='*', default=['debug'], metavar='RUN', help=f'{", ".join(RUNS)} (debug)'
    )
    parser.add_argument('--steps', type=int, help='the first steps alone (all that are recorded)')
    parser.add_argument(
        '--against',
        type=Path,
        metavar='CHECKOUT',
        help='train with this checkout, too, and compare with that bit for bit',
    )
    parser.add_argument(
        '--write', action='store_true', help='record the losses; say in the commit why they changed'
    )
    args = parser.parse_args()
    if args.write and args.steps:
        parser.error('--write records all steps: leave --steps out')
    if unknown := sorted(set(args.runs) - RUNS.keys()):
        parser.error(f'RUN is one of {", ".join(RUNS)}, got {unknown[0]!r}')
    return args


def main() -> None:
    """Compares one run after the other; the status is 1 if one has other losses."""
    args = parse_args()
    same = [compare(name, args) for name in args.runs]
    sys.exit(not all(same))


def compare(name: str, args: argparse.Namespace) -> bool:
    """Trains a run, and returns whether its losses are as they were."""
    from vicmae.errors import ConfigError
    from vicmae.testing import losses

    config, recorded = RUNS[name]
    steps = args.steps or recorded
    record = RECORDS / f'{name}.json'
    if not (record.is_file() or args.write or args.against):
        raise ConfigError(
            f'There is no record {str(record)!r} yet. Write one with `--write`, or use `--against`.'
        )
    after = losses.record_losses_of(ROOT, ROOT / config, steps)
    if args.write:
        losses.write_losses(record, config, after)
        print(f'{name}: {len(after)} steps written to {record}')
        return True
    if args.against:
        checkout, tolerance = args.against.resolve(), 0.0
        before = losses.record_losses_of(checkout, checkout / config, steps)
    else:
        before, tolerance = (
            json.loads(record.read_text(encoding='utf-8'))['losses'],
            losses.TOLERANCE,
        )
    print(f'{name}: {losses.describe_losses(before[:steps], after, tolerance)}')
    return losses.compare_losses(before[:steps], after, tolerance) is None


if __name__ == '__main__':
    run_tool(main)
